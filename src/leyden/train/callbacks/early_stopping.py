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
    """Stop when `monitor` has not improved by `min_delta` for `patience` validations, or is no longer finite.

    `stopping_threshold` is good enough to stop at, `divergence_threshold` bad enough. `check_on_train_epoch_end` looks
    after every epoch of training instead of after validations; None does so where there is no validation. With
    `strict=False` a metric that was not logged is passed over instead of raising ConfigurationError.
    """

    judges = True

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
    ) -> None:
        self.monitor, self.min_delta, self.patience = monitor, abs(min_delta), patience
        self.mode, self.check_finite, self.strict, self.verbose = check_mode(mode), check_finite, strict, verbose
        self.stopping_threshold, self.divergence_threshold = stopping_threshold, divergence_threshold
        self.check_on_train_epoch_end = check_on_train_epoch_end
        self.best_score = math.inf if mode == "min" else -math.inf
        self.wait_count = 0
        self.stopped_epoch = 0

    @property
    def state_key(self) -> str:
        """One for each metric that is watched."""
        return f"{type(self).__qualname__}({self.monitor}, {self.mode})"

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "wait_count": self.wait_count, "stopped_epoch": self.stopped_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.wait_count = state_dict["best_score"], state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        if trainer.stage == "fit" and not trainer.sanity_checking and not self.check_on_train_epoch_end:
            self._judge(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        asked = self.check_on_train_epoch_end
        if asked or (asked is None and not trainer.val_dataloaders):
            self._judge(trainer)

    def _judge(self, trainer: Trainer) -> None:
        if not self.strict and self.monitor not in trainer.metrics:
            return
        score, name = read_monitor(trainer, self.monitor, "EarlyStopping"), self.monitor
        enough, too_bad = self.stopping_threshold, self.divergence_threshold
        if self.check_finite and not math.isfinite(score):
            self._stop(trainer, f"{name} is {score}")
        elif enough is not None and better(score, enough, self.mode):
            self._stop(trainer, f"{name} is {score:.4g}, better than {enough}")
        elif too_bad is not None and better(-score, -too_bad, self.mode):
            self._stop(trainer, f"{name} is {score:.4g}, worse than {too_bad}")
        elif better(score, self.best_score, self.mode, self.min_delta):
            self.best_score, self.wait_count = score, 0
            if self.verbose:
                trainer.say(f"{name} improved to {score:.4g}")
        else:
            self.wait_count += 1
            if self.wait_count >= self.patience:
                best = f"best {self.best_score:.4g}"
                self._stop(trainer, f"{name} has not improved for {self.wait_count} checks ({best})")

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
