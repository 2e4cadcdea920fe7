"""Do micro-batches make up steps as the epoch says, and does all that counts steps know?"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import GradientAccumulationScheduler
from tests.train.callbacks.runs import new, resumes_exactly, trainer
from tests.train.models import Line, loader, same, weights


class Counts(leyden.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps.append(trainer.global_step)


class Scheduled(Line):
    """As many rates as there are steps, told by `estimated_stepping_batches`."""

    def configure_optimizers(self) -> Any:
        self.steps = self.trainer.estimated_stepping_batches
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, int(self.steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_windows_follow_the_epoch() -> None:
    """8 batches: 8 steps, then 3 in windows of 3 (the last of 2), then 2 in windows of 4."""
    counts, model = Counts(), new(Scheduled)
    run = trainer(GradientAccumulationScheduler({1: 3, 3: 4}), counts, max_epochs=4)
    run.fit(model, loader())
    assert counts.steps == [8, 11, 14, 16]
    assert model.steps == run.estimated_stepping_batches == 16
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0)


def test_the_same_as_the_argument_and_scaled_with_it() -> None:
    settings = {"scale_lr": "linear", "lr_warmup": 4, "max_epochs": 2}
    by_argument, by_callback = new(), new()
    trainer(accumulate_grad_batches=4, **settings).fit(by_argument, loader())
    trainer(GradientAccumulationScheduler({0: 4}), **settings).fit(by_callback, loader())
    assert same(weights(by_argument), weights(by_callback))


@pytest.mark.parametrize("crash", [9, 11, 14])
def test_resumed_equals_uninterrupted(crash: int) -> None:
    assert resumes_exactly(lambda: GradientAccumulationScheduler({1: 3, 2: 2}), crash)


def test_mistakes() -> None:
    class ByHand(Line):
        automatic_optimization = False

    with pytest.raises(ConfigurationError, match="must map epochs from 0 on"):
        GradientAccumulationScheduler({0: 0})
    with pytest.raises(ConfigurationError, match="accumulate_grad_batches=2 says otherwise"):
        trainer(GradientAccumulationScheduler({1: 2}), accumulate_grad_batches=2).fit(new(), loader())
    with pytest.raises(ConfigurationError, match="optimizes by hand"):
        trainer(GradientAccumulationScheduler({1: 2})).fit(ByHand(), loader())
