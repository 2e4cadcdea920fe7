"""What did `configure_optimizers` return? Every form of Lightning's, brought to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from leyden.core.errors import CheckpointError, ConfigurationError, nearest
from leyden.train.module import Module

_SCHEDULE_KEYS = {"scheduler", "interval", "frequency", "monitor", "name", "strict"}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning-rate schedule and when it moves: every `frequency` steps or epochs."""

    scheduler: LRScheduler
    interval: str = "epoch"
    frequency: int = 1
    monitor: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizers, in the order they were given, and all schedules."""

    optimizers: tuple[Optimizer, ...]
    schedules: tuple[Schedule, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """State of every optimizer and schedule."""
        return {
            "optimizers": [one.state_dict() for one in self.optimizers],
            "schedules": [one.scheduler.state_dict() for one in self.schedules],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; raises CheckpointError where it is another set of optimizers."""
        for name, mine in (("optimizers", self.optimizers), ("schedules", self.schedules)):
            if len(state[name]) != len(mine):
                raise CheckpointError(
                    asked=f"the checkpoint's {len(state[name])} {name}",
                    found=f"configure_optimizers now returns {len(mine)}",
                    do="Return what the run that wrote it returned, or load only its weights.",
                )
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.scheduler.load_state_dict(saved)


def configure(module: Module) -> Optimization:
    """Call `configure_optimizers` and read what it returned; raises ConfigurationError for an unknown form."""
    answer = module.configure_optimizers()
    optimizers: list[Any] = []
    schedulers: list[Any] = []
    if isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, list | tuple) for part in answer):
        optimizers, schedulers = list(answer[0]), list(answer[1])
    else:
        for one in answer if isinstance(answer, list | tuple) else [answer]:
            if isinstance(one, Mapping):
                optimizers.append(one.get("optimizer"))
                schedulers += [one["lr_scheduler"]] if one.get("lr_scheduler") is not None else []
            else:
                optimizers.append(one)
    if not optimizers or not all(isinstance(one, Optimizer) for one in optimizers):
        raise ConfigurationError(
            asked=f"{type(module).__name__}.configure_optimizers()",
            found=f"it returned {_describe(answer)}",
            do='Return an optimizer, ([optimizer], [scheduler]) or {"optimizer": …, "lr_scheduler": …}.',
        )
    if len(optimizers) > 1 and module.automatic_optimization:
        raise ConfigurationError(
            asked=f"{type(module).__name__} has {len(optimizers)} optimizers",
            found="automatic optimization knows one: which loss is whose only the Module can say",
            do="Set self.automatic_optimization = False in __init__ and step them in training_step.",
        )
    return Optimization(optimizers=tuple(optimizers), schedules=tuple(_schedule(one) for one in schedulers))


def _schedule(given: Any) -> Schedule:
    fields = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    for key in fields:
        if key not in _SCHEDULE_KEYS:
            raise ConfigurationError(
                asked=f"lr_scheduler has a key {key!r}", found="there is none", do=nearest(key, _SCHEDULE_KEYS)
            )
    schedule = Schedule(**{key: value for key, value in fields.items() if key != "strict"})
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
