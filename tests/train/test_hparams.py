"""Does a Module come back from a checkpoint as it was built?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.train.checkpoints import checkpoint
from tests.train.models import Line, loader, same, weights


class Sized(Line):
    def __init__(self, width: int, names: list[str], activation: nn.Module | None = None, **rest: Any) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="activation")
        self.extra = nn.Linear(width, 1)


class Wider(Sized):
    def __init__(self, names: list[str], depth: int = 2) -> None:
        super().__init__(width=16, names=names)
        self.depth = depth


def trained(model: leyden.Module) -> str:
    saves = leyden.ModelCheckpoint()
    leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False, callbacks=[saves]).fit(model, loader())
    return saves.last_model_path


def test_arguments_are_kept_and_come_back() -> None:
    model = Sized(8, names=["a"], activation=nn.Tanh(), more=1.5)
    assert model.hparams == {"width": 8, "names": ["a"], "more": 1.5}
    assert model.hparams.width == 8
    back = Sized.load_from_checkpoint(trained(model))
    assert back.hparams == model.hparams
    assert same(weights(model), weights(back))


def test_a_subclass_is_built_as_itself() -> None:
    model = Wider(depth=3, names=[])
    assert model.hparams == {"depth": 3, "width": 16, "names": []}
    back = Wider.load_from_checkpoint(trained(model), depth=4)
    assert back.depth == 4
    assert same(weights(model), weights(back))


def test_what_is_no_plain_data_must_be_given_again() -> None:
    class Holds(Line):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.other = net

    path = trained(Holds(nn.Linear(2, 2)))
    with pytest.raises(ConfigurationError, match=r"load_from_checkpoint\(path, net=…\)"):
        Holds.load_from_checkpoint(path)
    assert isinstance(Holds.load_from_checkpoint(path, net=nn.Linear(2, 2)).other, nn.Linear)


def test_names_and_mappings() -> None:
    class Some(Line):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.save_hyperparameters("a", {"c": 3})

    assert Some(1, 2).hparams == {"a": 1, "c": 3}
    with pytest.raises(AttributeError, match="known: a, c"):
        _ = Some(1, 2).hparams.zzz

    class Wrong(Line):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters("wdth")

    with pytest.raises(ConfigurationError, match="did you mean 'width'"):
        Wrong(1)


def test_strictness() -> None:
    path = trained(Line())

    class More(Line):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 1)

    with pytest.raises(CheckpointError, match=r"missing head\.bias, head\.weight"):
        More.load_from_checkpoint(path)
    assert isinstance(More.load_from_checkpoint(path, strict=False), More)


def test_lightnings_checkpoints_are_read(tmp_path: Path) -> None:
    """A file as Lightning writes it; where Lightning is installed, one that it wrote."""
    source = Sized(4, names=["x"])
    path = tmp_path / "epoch=1.ckpt"
    stored = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": source.state_dict(),
        "hyper_parameters": {"width": 4, "names": ["x"]},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(stored, path)
    back = Sized.load_from_checkpoint(path)
    assert same(weights(source), weights(back))
    trainer = leyden.Trainer(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    [scores] = trainer.test(Sized(4, names=[]), loader(8), ckpt_path=path)
    assert scores == trainer.test(source, loader(8))[0]
    with pytest.raises(CheckpointError, match=r"Model\.load_from_checkpoint\(path\)"):
        trainer.fit(Sized(4, names=[]), loader(), ckpt_path=path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="it is no Lightning checkpoint"):
        Sized.load_from_checkpoint(path)


def test_auto_steps_over_damage_and_last_does_not() -> None:
    saves = leyden.ModelCheckpoint(save_top_k=-1)
    settings: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
    leyden.Trainer(max_epochs=2, callbacks=[saves], **settings).fit(Line(), loader())
    newest = Path(saves.last_model_path)
    (newest / checkpoint.TRAINING).write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        leyden.Trainer(max_epochs=3, **settings).fit(Line(), loader(), ckpt_path="last")
    model = Line()
    with pytest.warns(UserWarning, match=r"training\.pt.* stepped over"):
        leyden.Trainer(max_epochs=2, **settings).fit(model, loader(), ckpt_path="auto")
    assert len(model.losses) == 8  # the second epoch again
    shutil.rmtree(newest.parent)
    anew = Line()
    leyden.Trainer(max_epochs=1, **settings).fit(anew, loader(), ckpt_path="auto")
    assert len(anew.losses) == 8
