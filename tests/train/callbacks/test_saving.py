"""When does ModelCheckpoint save, and under which name?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.checkpoints import checkpoint
from tests.train.models import Line, loader, same, seeded, weights


class Crash(leyden.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def fit(*callbacks: leyden.Callback, model: Line | None = None, **settings: Any) -> leyden.Trainer:
    trainer = leyden.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, callbacks=callbacks)
    trainer.fit(model or seeded(), loader(), loader(16), **settings)
    return trainer


@pytest.mark.parametrize(
    ("filename", "settings", "names"),
    [
        ("{epoch}-{train_loss:.3f}", {}, ["epoch=1-train_loss=", "epoch=2-train_loss="]),
        ("{epoch}-{val_loss:.2f}", {"auto_insert_metric_name": False}, ["1-", "2-"]),
        ("e{epoch:02d}", {"auto_insert_metric_name": False}, ["e01", "e02"]),
        ("model", {}, ["model", "model-v1"]),
        ("{missing:.1f}-{step}", {}, ["missing=nan-step=16", "missing=nan-step=8"]),
    ],
)
def test_names_are_templates(filename: str, settings: dict[str, Any], names: list[str], tmp_path: Path) -> None:
    fit(leyden.ModelCheckpoint(tmp_path, save_top_k=-1, filename=filename, **settings))
    found = sorted(one.path.name for one in checkpoint.committed(tmp_path))
    assert len(found) == len(names)
    assert all(name.startswith(start) for name, start in zip(found, names, strict=True)), found


def test_a_metric_in_the_name_is_its_value(tmp_path: Path) -> None:
    saves = leyden.ModelCheckpoint(tmp_path, monitor="val_loss", filename="{val_loss:.4f}-{step}")
    fit(saves)
    assert Path(saves.best_model_path).name.startswith(f"val_loss={saves.best_model_score:.4f}-step=")


def test_last_is_a_link_to_the_newest(tmp_path: Path) -> None:
    saves = leyden.ModelCheckpoint(tmp_path, monitor="val_loss", mode="max", save_last=True)
    fit(saves)
    assert (tmp_path / "last").resolve() == Path(saves.last_model_path)
    assert checkpoint.read(tmp_path / "last").step == 16
    assert "last" not in [one.path.name for one in checkpoint.committed(tmp_path)]


def test_every_so_often(tmp_path: Path) -> None:
    often = leyden.ModelCheckpoint(tmp_path / "often", train_time_interval=timedelta(microseconds=1), save_top_k=-1)
    rarely = leyden.ModelCheckpoint(tmp_path / "rarely", train_time_interval="30min", save_top_k=-1)
    fit(often, rarely)
    assert [one.step for one in checkpoint.committed(tmp_path / "often")] == list(range(1, 17))
    assert [one.step for one in checkpoint.committed(tmp_path / "rarely")] == [16]  # the end of training


def test_weights_only(tmp_path: Path) -> None:
    saves = leyden.ModelCheckpoint(tmp_path, save_weights_only=True)
    model = seeded()
    fit(saves, model=model)
    assert not (Path(saves.last_model_path) / checkpoint.OPTIMIZER).exists()
    assert same(weights(Line.load_from_checkpoint(saves.last_model_path)), weights(model))


def test_an_error_leaves_a_checkpoint_that_goes_on(tmp_path: Path) -> None:
    whole, broken, resumed = seeded(), seeded(), Line()
    fit(model=whole)
    saves = leyden.ModelCheckpoint(tmp_path, save_on_exception=True)
    with pytest.raises(RuntimeError, match="crash"):
        fit(saves, Crash(11), model=broken)
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest.name == "epoch=1-step=11"
    fit(model=resumed, ckpt_path=newest)
    assert same(weights(whole), weights(resumed))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filename": "a/b"}, "no name of a folder"),
        ({"filename": "{epoch"}, "no name of a folder"),
        ({"filename": ""}, "no name of a folder"),
        ({"train_time_interval": "5ep"}, "no time above 0"),
    ],
)
def test_mistakes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        leyden.ModelCheckpoint(**settings)
