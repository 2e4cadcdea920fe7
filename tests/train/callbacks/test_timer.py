"""Does the timer measure, stop in time, and remember what a broken run has used up?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import Timer
from tests.train.callbacks.runs import Break, new, saving, trainer
from tests.train.models import loader


class Clock(leyden.Callback):
    """Time that passes only with batches: a second each in training, ten in validation."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def on_train_batch_end(self, *_: Any) -> None:
        self.now += 1.0

    def on_validation_batch_end(self, *_: Any) -> None:
        self.now += 10.0


@pytest.mark.parametrize(
    ("duration", "interval", "steps"),
    [
        ("00:00:00:11", "step", 11),
        (timedelta(seconds=11), "epoch", 16),
        ({"seconds": 3}, "step", 3),
        (None, "step", 24),
        ("00:00:00:00", "step", 0),
    ],
)
def test_it_stops_in_time(duration: Any, interval: str, steps: int) -> None:
    clock = Clock()
    run = trainer(clock, Timer(duration, interval, clock=clock), max_epochs=3)
    run.fit(new(), loader())
    assert run.global_step == steps


def test_it_measures_every_stage() -> None:
    clock = Clock()
    timer = Timer("01:00:00:00", clock=clock)
    run = trainer(clock, timer, max_epochs=2)
    assert (timer.start_time(), timer.time_elapsed(), timer.end_time("test")) == (None, 0.0, None)
    run.fit(new(), loader(), loader(16))
    assert timer.time_elapsed() == 16 + 2 * 20
    assert timer.time_elapsed("validate") == 20
    assert timer.time_remaining() == 24 * 3600 - 56
    assert (timer.start_time(), timer.end_time()) == (100.0, 156.0)


def test_time_before_a_resume_counts(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with pytest.raises(RuntimeError, match="crash"):
        saving(clock, Timer({"seconds": 12}, clock=clock), Break(7)).fit(new(), loader())
    clock = Clock()
    timer = Timer({"seconds": 12}, clock=clock)
    run = saving(clock, timer)
    run.fit(new(), loader(), ckpt_path="last")
    assert (run.global_step, timer.time_elapsed()) == (12, 12.0)
    assert "time is over after 12s: stopping" in capsys.readouterr().out


def test_mistakes() -> None:
    with pytest.raises(ConfigurationError, match="DD:HH:MM:SS"):
        Timer("at noon")
    with pytest.raises(ConfigurationError, match="hour"):
        Timer({"hour": 3})
    with pytest.raises(ConfigurationError, match="interval='batch'"):
        Timer(interval="batch")
    with pytest.raises(ConfigurationError, match="no such stage"):
        Timer().time_elapsed("fit")
