"""What the tests of callbacks share: short runs, a crash, and what the record says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import leyden
from leyden.track.read import read_run
from tests.train.models import Line, loader, weights


class Normed(Line):
    """With batch normalization, so that there are buffers, floats and a counter."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr=lr)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def new(kind: Callable[[], Line] = Line, seed: int = 7) -> Any:
    leyden.seed_everything(seed)
    return kind()


class Break(leyden.Callback):
    """Ends training from within, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def trainer(*callbacks: leyden.Callback, **settings: Any) -> leyden.Trainer:
    defaults = {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False, "num_sanity_val_steps": 0}
    return leyden.Trainer(**{**defaults, **settings, "callbacks": callbacks})


def saving(*callbacks: leyden.Callback, **settings: Any) -> leyden.Trainer:
    """Writes a checkpoint every three steps, and keeps all."""
    saves = leyden.ModelCheckpoint(every_n_train_steps=3, every_n_epochs=1, save_top_k=-1)
    return trainer(*callbacks, saves, **{"max_epochs": 3, **settings})


def resumes_exactly(
    make: Callable[[], leyden.Callback],
    crash: int,
    kind: Callable[[], Line] = Line,
    data: Callable[[], Any] = lambda: loader(shuffle=True),
    **settings: Any,
) -> bool:
    """Whether a run that crashed at a step and went on ends with the bits of one that did not."""
    whole = new(kind)
    saving(make(), default_root_dir="whole", **settings).fit(whole, data(), loader(16))
    broken = new(kind)
    with pytest.raises(RuntimeError, match="crash"):
        saving(make(), Break(crash), default_root_dir="broken", **settings).fit(broken, data(), loader(16))
    resumed = new(kind, seed=99)
    saving(make(), default_root_dir="broken", **settings).fit(resumed, data(), loader(16), ckpt_path="last")
    return all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def named(module: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


def record(run: leyden.Trainer) -> Any:
    assert run.run is not None
    run.run.writer.flush()
    return read_run(run.run.path)
