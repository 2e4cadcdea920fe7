"""How long has training run, and when is its time over?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from leyden.core.errors import ConfigurationError
from leyden.core.units import format_duration
from leyden.train.callbacks.base import Callback
from leyden.train.spans import read_span

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

_STAGES = ("train", "validate", "test")


class Timer(Callback):
    """Measure the time of training, validation and test, and stop training when `duration` is over.

    `duration`: "3h", "DD:HH:MM:SS", a timedelta, or a mapping of its arguments ({"hours": 12}); None only measures.
    `interval`: whether to look after every "step" or every "epoch". Time spent before a resume counts. Of several
    ranks the first one's clock holds, and steps are looked at every `log_every_n_steps`. `clock` counts seconds.
    Raises ConfigurationError for other words.
    """

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, float] | None = None,
        interval: str = "step",
        verbose: bool = True,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if interval not in ("step", "epoch"):
            raise ConfigurationError(
                asked=f"Timer(interval={interval!r})", found="it is unknown", do='Use "step" or "epoch".'
            )
        self._duration_s = None if duration is None else _seconds(duration)
        self._interval, self._verbose, self._clock = interval, verbose, clock
        self._start: dict[str, float] = {}
        self._end: dict[str, float] = {}
        self._before_s = 0.0

    def start_time(self, stage: str = "train") -> float | None:
        """When the stage ("train", "validate", "test") began, in seconds of the clock; None before."""
        return self._start.get(_known(stage))

    def end_time(self, stage: str = "train") -> float | None:
        """When the stage ended, in seconds of the clock; None before."""
        return self._end.get(_known(stage))

    def time_elapsed(self, stage: str = "train") -> float:
        """Seconds the stage has run, for training those before a resume included."""
        start, before = self.start_time(stage), self._before_s if stage == "train" else 0.0
        return before if start is None else self._end.get(stage, self._clock()) - start + before

    def time_remaining(self, stage: str = "train") -> float | None:
        """Seconds left of `duration`; None where there is none."""
        return None if self._duration_s is None else self._duration_s - self.time_elapsed(stage)

    @property
    def state_key(self) -> str:
        """One for each interval, as one Timer may stop training while another only measures."""
        return f"{type(self).__qualname__}({self._interval})"

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage: self.time_elapsed(stage) for stage in _STAGES}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before_s = state_dict["time_elapsed"]["train"]

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._begin("train")
        self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._end["train"] = self._clock()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        plan = trainer.plan
        if self._interval == "step" and (plan.world.size == 1 or trainer.global_step % plan.log_every_n_steps == 0):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self._interval == "epoch":
            self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._begin("validate")

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._end["validate"] = self._clock()

    def on_test_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._begin("test")

    def on_test_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._end["test"] = self._clock()

    def _begin(self, stage: str) -> None:
        self._start[stage] = self._clock()
        self._end.pop(stage, None)

    def _look(self, trainer: Trainer) -> None:
        if self._duration_s is None or not trainer.plan.world.share(self.time_elapsed() >= self._duration_s):
            return
        if self._verbose and not trainer.should_stop:
            trainer.say(f"time is over after {format_duration(self.time_elapsed())}: stopping")
        trainer.should_stop = True


def _seconds(duration: str | timedelta | Mapping[str, float]) -> float:
    span = read_span(duration)
    if span.time_s is None:
        raise ConfigurationError(
            asked=f"Timer({duration!r})", found="it is no time", do="Use max_epochs or max_steps of the Trainer for it."
        )
    return span.time_s


def _known(stage: str) -> str:
    if stage not in _STAGES:
        raise ConfigurationError(
            asked=f"the time of {stage!r}", found="there is no such stage", do=f"Use one of {', '.join(_STAGES)}."
        )
    return stage
