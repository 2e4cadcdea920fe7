"""Do early stopping and checkpoint keeping decide rightly?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import leyden
from leyden.core.errors import ConfigurationError
from leyden.track import checkpoints
from leyden.train.callbacks import Timer
from leyden.train.checkpoints import checkpoint
from tests.conformance.until import until
from tests.train.models import Line, loader


class Scores(Line):
    """Logs a given score after each epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", self.scores[self.current_epoch])


def fit(scores: list[float], *callbacks: leyden.Callback) -> leyden.Trainer:
    trainer = leyden.Trainer(
        max_epochs=len(scores), accelerator="cpu", enable_progress_bar=False, callbacks=callbacks, limit_train_batches=1
    )
    trainer.fit(Scores(scores), loader(), loader(8))
    return trainer


@pytest.mark.parametrize(
    ("scores", "settings", "epochs"),
    [
        ([5, 4, 3, 2, 1], {}, 5),
        ([5, 4, 4, 4, 4, 4], {"patience": 2}, 4),
        ([1, 2, 3, 2, 2, 2], {"mode": "max", "patience": 2}, 5),
        ([5, 4.95, 4.9, 4.85], {"min_delta": 0.2, "patience": 3}, 4),
        ([5, math.nan, 3], {}, 2),
        ([5, math.nan, 3], {"check_finite": False}, 3),
    ],
)
def test_early_stopping(scores: list[float], settings: dict[str, Any], epochs: int) -> None:
    assert fit(scores, leyden.EarlyStopping("score", **settings)).current_epoch == epochs


def kept(trainer: leyden.Trainer) -> list[str]:
    return [f"epoch={one.epoch}" for one in checkpoint.committed(trainer.checkpoint_dir)]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["epoch=5"]),
        ({"monitor": "score"}, ["epoch=2", "epoch=5"]),
        ({"monitor": "score", "mode": "max"}, ["epoch=3", "epoch=5"]),
        ({"monitor": "score", "save_top_k": 2}, ["epoch=2", "epoch=4", "epoch=5"]),
        ({"save_top_k": -1}, [f"epoch={n}" for n in range(1, 6)]),
        ({"every_n_epochs": 2, "save_top_k": -1}, ["epoch=2", "epoch=4", "epoch=5"]),
    ],
)
def test_the_best_and_the_newest_are_kept(settings: dict[str, Any], names: list[str]) -> None:
    saves = leyden.ModelCheckpoint(**settings)
    trainer = fit([3, 1, 9, 2, 4], saves)
    assert kept(trainer) == names
    assert Path(saves.last_model_path).name == "epoch=5-step=5"
    if settings.get("monitor"):
        best = {"min": ("epoch=2-step=2", 1), "max": ("epoch=3-step=3", 9)}[settings.get("mode", "min")]
        assert (Path(saves.best_model_path).name, saves.best_model_score) == best


def test_a_checkpoint_that_somebody_pinned_is_kept_too() -> None:
    class Pins(leyden.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:  # the first checkpoint may still be being written
                until((trainer.checkpoint_dir / "epoch=1-step=1/manifest.json").exists)
                checkpoints.pin(trainer.checkpoint_dir, "epoch=1-step=1", pinned=True)

    assert kept(fit([3, 2, 1], Pins(), leyden.ModelCheckpoint())) == ["epoch=1", "epoch=3"]


def test_a_nan_score_never_wins() -> None:
    saves = leyden.ModelCheckpoint(monitor="score")
    fit([math.nan, 2, math.nan], saves)
    assert saves.best_model_score == 2


def test_a_metric_that_never_came_is_said_at_the_end() -> None:
    saves = leyden.ModelCheckpoint(monitor="val_los")
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[saves])
    with pytest.warns(UserWarning, match="never saw that metric"):
        trainer.fit(Line(), loader())
    assert saves.best_model_path == ""


def test_keeping_goes_on_after_a_resume() -> None:
    class Crash(leyden.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("crash")

    settings: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "limit_train_batches": 1}
    scores = [2.0, 1.0, 3.0, 4.0]
    first = leyden.Trainer(max_epochs=4, callbacks=[Crash(), leyden.ModelCheckpoint(monitor="score")], **settings)
    with pytest.raises(RuntimeError, match="crash"):
        first.fit(Scores(scores), loader(), loader(8))
    saves = leyden.ModelCheckpoint(monitor="score")
    second = leyden.Trainer(max_epochs=4, callbacks=[saves], **settings)
    second.fit(Scores(scores), loader(), loader(8), ckpt_path="last")
    assert kept(second) == ["epoch=2", "epoch=4"]
    assert saves.best_model_score == 1.0


def test_no_checkpointing() -> None:
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, enable_checkpointing=False)
    trainer.fit(Line(), loader())
    assert checkpoint.committed(trainer.checkpoint_dir) == []


def test_two_keepers_keep_their_own() -> None:
    best, recent = leyden.ModelCheckpoint(monitor="score"), leyden.ModelCheckpoint("recent", every_n_train_steps=2)
    trainer = fit([3, 1, 9, 2, 4], best, recent)
    assert kept(trainer) == ["epoch=2", "epoch=5"]
    assert [one.step for one in checkpoint.committed(Path("recent"))] == [5]
    state = checkpoint.read(Path(best.last_model_path)).training["callbacks"]
    assert len(state) == 2
    with pytest.raises(ConfigurationError, match=r"two callbacks with the state key 'EarlyStopping\(score, min\)'"):
        fit([1], leyden.EarlyStopping("score"), leyden.EarlyStopping("score", patience=9))


def test_two_of_a_class_keep_states_of_their_own() -> None:
    first, second = leyden.EarlyStopping("score", patience=9), leyden.EarlyStopping("score", patience=9, mode="max")
    saves = leyden.ModelCheckpoint()
    run = leyden.Trainer(
        max_epochs=3,
        max_time="1h",
        accelerator="cpu",
        enable_progress_bar=False,
        limit_train_batches=1,
        callbacks=[saves, first, Timer("00:01:00:00"), second],
    )
    assert run.callbacks[-1] is saves
    run.fit(Scores([3, 1, 2]), loader(), loader(8))
    state = checkpoint.read(Path(saves.last_model_path)).training["callbacks"]
    assert state["EarlyStopping(score, min)"]["best_score"] == 1
    assert state["EarlyStopping(score, max)"]["best_score"] == 3
    assert {"Timer(step)", "MaxTime(step)"} < set(state)


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match='"min" or "max"'):
        leyden.EarlyStopping("x", mode="least")
    with pytest.raises(ConfigurationError, match="every_n_epochs=0"):
        leyden.ModelCheckpoint(every_n_epochs=0)
