"""Are learning rates logged under Lightning's names, when they should be?"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import LearningRateMonitor
from tests.train.callbacks.runs import record, trainer
from tests.train.models import Line, loader


class Halves(Line):
    """SGD in two groups, whose rate halves at an interval."""

    def __init__(self, interval: str = "step", **group: Any) -> None:
        super().__init__()
        self.interval, self.group = interval, group

    def configure_optimizers(self) -> Any:
        groups = [{"params": self.net[0].parameters(), **self.group}, {"params": self.net[3].parameters(), "lr": 0.25}]
        optimizer = torch.optim.SGD(groups, lr=1e-3, momentum=0.5, weight_decay=0.125)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        return [optimizer], [{"scheduler": schedule, "interval": self.interval}]


def fit(model: Line, *callbacks: leyden.Callback, **settings: Any) -> Any:
    run = trainer(*callbacks, limit_train_batches=3, **settings)
    run.fit(model, loader())
    return record(run)


def test_each_group_at_every_step() -> None:
    found = fit(Halves(), LearningRateMonitor())
    assert list(found["lr-SGD/pg2"].values) == [0.25 * 0.5**n for n in range(6)]
    assert list(found["lr-SGD/pg2"].steps) == list(range(6))
    assert list(found["lr-SGD/pg1"].values) == pytest.approx([1e-3 * 0.5**n for n in range(6)])
    assert not any("momentum" in name or "decay" in name for name in found)


@pytest.mark.parametrize(("interval", "asked"), [("epoch", None), ("epoch", "epoch"), ("step", "epoch")])
def test_once_an_epoch(interval: str, asked: str | None) -> None:
    found = fit(Halves(interval), LearningRateMonitor(asked))
    assert list(found["lr-SGD/pg2"].steps) == [0, 3]
    assert list(found["lr-SGD/pg2"].values) == [0.25, 0.125 if interval == "epoch" else 0.25 * 0.5**3]


def test_momentum_and_weight_decay_and_names_of_groups() -> None:
    monitor = LearningRateMonitor("epoch", log_momentum=True, log_weight_decay=True)
    found = fit(Halves(name="body"), monitor, max_epochs=1)
    assert list(found["lr-SGD/body-momentum"].values) == [0.5]
    assert list(found["lr-SGD/pg2-weight_decay"].values) == [0.125]
    adam = fit(Line(), monitor, max_epochs=1)
    assert list(adam["lr-Adam-momentum"].values) == [0.9]


def test_micro_batches_count_once() -> None:
    found = fit(Line(), LearningRateMonitor("step"), accumulate_grad_batches=2)
    assert list(found["lr-Adam"].steps) == [0, 1, 2, 3]


def test_several_optimizers() -> None:
    class Two(Line):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(super().training_step(batch, batch_idx))
            for one in self.optimizers():
                one.step()
                one.zero_grad()

        def configure_optimizers(self) -> Any:
            return [torch.optim.Adam(self.net[0].parameters(), 0.5), torch.optim.Adam(self.net[3].parameters(), 0.25)]

    found = fit(Two(), LearningRateMonitor(), max_epochs=1)
    assert (found["lr-Adam"].values[0], found["lr-Adam-1"].values[0]) == (0.5, 0.25)


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="logging_interval='batch'"):
        LearningRateMonitor("batch")

    class Twins(Halves):
        def configure_optimizers(self) -> Any:
            answer = super().configure_optimizers()
            answer[0][0].param_groups[1]["name"] = "body"
            return answer

    with pytest.raises(ConfigurationError, match="two of its parameter groups"):
        fit(Twins(name="body"), LearningRateMonitor())
