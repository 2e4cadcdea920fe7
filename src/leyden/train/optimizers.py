"""What did `configure_optimizers` return? Every form of Lightning's, brought to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.module import Module

_SCHEDULE_KEYS = {"scheduler", "interval", "frequency", "monitor", "name", "strict"}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning-rate schedule and when it moves: every `frequency` steps or epochs."""

    scheduler: LRScheduler
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizer and its schedules."""

    optimizer: Optimizer
    schedules: tuple[Schedule, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer and of each schedule."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedules": [one.scheduler.state_dict() for one in self.schedules],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        self.optimizer.load_state_dict(state["optimizer"])
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.scheduler.load_state_dict(saved)


def configure(module: Module) -> Optimization:
    """Call `configure_optimizers` and read what it returned; raises ConfigurationError for an unknown form."""
    answer = module.configure_optimizers()
    schedulers: Any = []
    if isinstance(answer, Mapping):
        optimizer, schedulers = answer.get("optimizer"), answer.get("lr_scheduler", [])
    elif isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, list | tuple) for part in answer):
        optimizer, schedulers = answer
    else:
        optimizer = answer
    if isinstance(optimizer, list | tuple) and len(optimizer) == 1:
        optimizer = optimizer[0]
    if not isinstance(optimizer, Optimizer):
        raise ConfigurationError(
            asked=f"{type(module).__name__}.configure_optimizers()",
            found=f"it returned {_describe(answer)}",
            do='Return one optimizer, ([optimizer], [scheduler]) or {"optimizer": …, "lr_scheduler": …}.',
        )
    if not isinstance(schedulers, Sequence):
        schedulers = [schedulers]
    return Optimization(optimizer=optimizer, schedules=tuple(_schedule(one) for one in schedulers))


def _schedule(given: Any) -> Schedule:
    fields = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    for key in fields:
        if key not in _SCHEDULE_KEYS:
            raise ConfigurationError(
                asked=f"lr_scheduler has a key {key!r}", found="there is none", do=nearest(key, _SCHEDULE_KEYS)
            )
    schedule = Schedule(**{key: value for key, value in fields.items() if key not in ("name", "strict")})
    if schedule.interval not in ("step", "epoch"):
        raise ConfigurationError(
            asked=f"lr_scheduler interval {schedule.interval!r}", found="it is unknown", do='Use "step" or "epoch".'
        )
    if isinstance(schedule.scheduler, ReduceLROnPlateau) and schedule.monitor is None:
        raise ConfigurationError(
            asked="ReduceLROnPlateau", found="it has no metric to watch", do='Add "monitor": "val_loss" beside it.'
        )
    return schedule


def _describe(answer: Any) -> str:
    if isinstance(answer, list | tuple):
        return f"a {type(answer).__name__} of {', '.join(type(part).__name__ for part in answer) or 'nothing'}"
    return "nothing" if answer is None else f"a {type(answer).__name__}"
