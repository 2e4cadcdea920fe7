"""When has training stopped getting better?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by `min_delta` for `patience` validations, or is no longer finite."""

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        mode: str = "min",
        check_finite: bool = True,
    ) -> None:
        self.monitor, self.min_delta, self.patience = monitor, abs(min_delta), patience
        self.mode, self.check_finite = check_mode(mode), check_finite
        self.best_score = math.inf if mode == "min" else -math.inf
        self.wait_count = 0
        self.stopped_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "wait_count": self.wait_count, "stopped_epoch": self.stopped_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.wait_count = state_dict["best_score"], state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        if trainer.sanity_checking:
            return
        score = read_monitor(trainer, self.monitor, "EarlyStopping")
        if self.check_finite and not math.isfinite(score):
            self._stop(trainer, f"{self.monitor} is {score}")
        elif better(score, self.best_score, self.mode, self.min_delta):
            self.best_score, self.wait_count = score, 0
        else:
            self.wait_count += 1
            if self.wait_count >= self.patience:
                best = f"best {self.best_score:.4g}"
                self._stop(trainer, f"{self.monitor} has not improved for {self.wait_count} validations ({best})")

    def _stop(self, trainer: Trainer, why: str) -> None:
        trainer.should_stop = True
        self.stopped_epoch = trainer.current_epoch
        trainer.say(f"stopping early: {why}")


def check_mode(mode: str) -> str:
    """ "min" or "max"; raises ConfigurationError for anything else."""
    if mode not in ("min", "max"):
        raise ConfigurationError(asked=f"mode={mode!r}", found="it is unknown", do='Use "min" or "max".')
    return mode


def better(score: float, best: float, mode: str, min_delta: float = 0.0) -> bool:
    """Whether `score` beats `best` by more than `min_delta`.

    >>> better(0.5, 0.6, "min"), better(0.5, 0.6, "max"), better(math.nan, 0.6, "min")
    (True, False, False)
    """
    return score < best - min_delta if mode == "min" else score > best + min_delta


def read_monitor(trainer: Trainer, monitor: str, who: str) -> float:
    """The watched metric; raises ConfigurationError that lists those there are."""
    metrics = trainer.metrics
    if monitor not in metrics:
        raise ConfigurationError(
            asked=f"{who}(monitor={monitor!r})",
            found="no such metric was logged",
            do=f"Log it, or watch another: {nearest(monitor, metrics)}" if metrics else "Log it with self.log.",
        )
    return metrics[monitor]
