"""Do learning rates grow with the batch, step by step, whoever else sets them?"""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import LearningRateMonitor
from tests.train.callbacks.runs import new, record, resumes_exactly, trainer
from tests.train.models import Line, loader

exactly = pytest.approx


class Told(SGD):
    """Keeps the rates it really steps with."""

    rates: list[float]

    def step(self, closure: Any = None) -> Any:
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


class Rated(Line):
    schedule: Any = None
    interval = "step"

    def configure_optimizers(self) -> Any:
        optimizer = Told(self.parameters(), lr=0.1)
        self.rates: list[float] = []
        optimizer.rates = self.rates
        if self.schedule is None:
            return optimizer
        schedule = {"scheduler": self.schedule(optimizer), "interval": self.interval, "monitor": "train_loss_epoch"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def rates_of(kind: type[Rated] = Rated, *callbacks: leyden.Callback, **settings: Any) -> list[float]:
    model: Rated = new(kind)
    trainer(*callbacks, **{"accumulate_grad_batches": 4, **settings}).fit(model, loader(64, 2))
    return model.rates


def test_without_a_warm_up_rates_are_multiplied() -> None:
    assert rates_of(scale_lr="linear", lr_warmup=0, max_epochs=1) == exactly([0.4] * 8)
    assert rates_of(scale_lr="sqrt", lr_warmup=0, max_epochs=1) == exactly([0.2] * 8)
    assert rates_of(max_epochs=1) == [0.1] * 8


def test_a_warm_up_over_epochs_and_over_steps() -> None:
    """From 0.1 to 0.4 in equal parts, over 2 epochs of 8 steps, then over 3 steps; the monitor tells the same."""
    monitor = LearningRateMonitor()
    model = new(Rated)
    run = trainer(monitor, max_epochs=3, accumulate_grad_batches=4, scale_lr="linear", lr_warmup="2ep")
    run.fit(model, loader(64, 2))
    expected = [0.1 + 0.3 * min(1, step / 16) for step in range(24)]
    assert model.rates == exactly(expected)
    assert list(record(run)["lr-Told"].values) == exactly(expected)
    assert rates_of(scale_lr="linear", lr_warmup="3step", max_epochs=1) == exactly([0.1, 0.2, 0.3] + [0.4] * 5)
    assert rates_of(scale_lr="linear", lr_warmup=3, max_epochs=1) == exactly([0.1, 0.2, 0.3] + [0.4] * 5)


def test_a_last_window_that_is_short_ends_the_epoch_too() -> None:
    """10 batches in windows of 4: three steps an epoch, the third over two batches."""
    short = rates_of(scale_lr="linear", lr_warmup="1ep", limit_train_batches=10, max_epochs=2)
    assert short == exactly([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


class Decayed(Rated):
    def schedule(self, optimizer: Any) -> Any:
        return LambdaLR(optimizer, lambda step: 0.9**step)


class Stepped(Rated):
    def schedule(self, optimizer: Any) -> Any:
        return StepLR(optimizer, step_size=3, gamma=0.5)


class OneCycle(Rated):
    def schedule(self, optimizer: Any) -> Any:
        return OneCycleLR(optimizer, max_lr=0.1, total_steps=9)


class Plateau(Rated):
    interval = "epoch"

    def schedule(self, optimizer: Any) -> Any:
        return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, mode="max")


@pytest.mark.parametrize("kind", [Decayed, Stepped, OneCycle, Plateau])
def test_every_schedule_comes_out_multiplied(kind: type[Rated]) -> None:
    """The same rates as without scaling, times the warm-up's factor of the step."""
    epochs = {"max_epochs": 4 if kind is Plateau else 1}
    plain, scaled = rates_of(kind, **epochs), rates_of(kind, scale_lr="linear", lr_warmup="4step", **epochs)
    assert len(set(plain)) > 2
    assert scaled == exactly([one * (1 + 3 * min(1, step / 4)) for step, one in enumerate(plain)])


def test_resumed_equals_uninterrupted() -> None:
    settings: dict[str, Any] = {"accumulate_grad_batches": 2, "scale_lr": "linear", "lr_warmup": "2ep"}
    assert resumes_exactly(LearningRateMonitor, 5, Decayed, **settings)


class Failing(Rated):
    """Its optimizer's step fails once, and is tried again."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        step, fails = optimizer.step, iter([True])

        def once(closure: Any = None) -> Any:
            if next(fails, False):
                for hook in optimizer._optimizer_step_pre_hooks.values():
                    hook(optimizer, (), {})
            return step(closure)

        optimizer.step = once
        return optimizer


def test_a_step_that_failed_leaves_nothing_behind() -> None:
    assert rates_of(Failing, scale_lr="linear", lr_warmup=0, max_epochs=1) == exactly([0.4] * 8)


class Kept(Rated):
    """One optimizer for every fit."""

    def configure_optimizers(self) -> Any:
        self.optimizer = getattr(self, "optimizer", None) or super().configure_optimizers()
        return self.optimizer


def test_a_second_fit_with_the_same_optimizer() -> None:
    model = new(Kept)
    for _ in range(2):
        run = trainer(accumulate_grad_batches=4, scale_lr="sqrt", lr_warmup=0, max_epochs=1)
        run.fit(model, loader(64, 2))
    assert model.rates == exactly([0.2] * 16)
    assert model.optimizer.param_groups[0]["lr"] == 0.1
    assert not model.optimizer._optimizer_step_pre_hooks


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match=r"lr_warmup='3h'; it is a time"):
        rates_of(scale_lr="linear", lr_warmup="3h")

    class Endless:
        def __iter__(self) -> Any:
            return iter(loader(8))

    with pytest.raises(ConfigurationError, match="nobody knows the steps of an epoch"):
        trainer(scale_lr="linear", max_epochs=1).fit(new(Rated), Endless())
    assert math.isclose(rates_of(scale_lr="linear", lr_warmup="8step", max_epochs=1)[-1], 0.1 + 0.3 * 7 / 8)
