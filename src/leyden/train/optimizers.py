"""What did `configure_optimizers` return? Every form of Lightning's, brought to one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
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

    def load_schedules(self, states: Sequence[dict[str, Any]]) -> None:
        """Take up the saved state of every schedule; raises CheckpointError where it is another set of them."""
        if len(states) != len(self.schedules):
            raise CheckpointError(
                asked=f"the checkpoint's {len(states)} schedules",
                found=f"configure_optimizers now returns {len(self.schedules)}",
                do="Return what the run that wrote it returned, or load only its weights.",
            )
        for schedule, saved in zip(self.schedules, states, strict=True):
            schedule.scheduler.load_state_dict(saved)


def configure(module: Module) -> Optimization:
    """Call `configure_optimizers` and read what it returned; raises ConfigurationError for an unknown form."""
    answer = _ask(module)
    optimizers: list[Any] = []
    schedulers: list[Any] = []
    if isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, list | tuple) for part in answer):
        optimizers, schedulers = list(answer[0]), list(answer[1])
    else:
        for one in answer if isinstance(answer, list | tuple) else [answer]:
            if isinstance(one, Mapping):
                optimizers.append(one.get("optimizer"))
                schedulers += _schedulers_beside(one)
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
    found = Optimization(optimizers=tuple(optimizers), schedules=tuple(_schedule(one) for one in schedulers))
    _check(module, found)
    return found


def _ask(module: Module) -> Any:
    try:
        return module.configure_optimizers()
    except ValueError as error:
        if "empty parameter list" not in str(error):
            raise
        raise _without_parameters(module) from error


def _check(module: Module, found: Optimization) -> None:
    """Raise ConfigurationError for optimizers that move nothing or schedules of others; warn of strange parameters."""
    moved = [one for optimizer in found.optimizers for group in optimizer.param_groups for one in group["params"]]
    if not any(one.requires_grad for one in moved):
        raise _without_parameters(module)
    own = {id(one) for one in module.parameters()}
    if strangers := [tuple(one.shape) for one in moved if id(one) not in own]:
        warnings.warn(
            f"{type(module).__name__}.configure_optimizers() gave {len(strangers)} parameters that are not the "
            f"Module's own, the first of shape {strangers[0]}: ranks do not exchange their gradients, and checkpoints "
            "leave them out. Were they replaced after the optimizer was made, or is their network no attribute?",
            stacklevel=2,
        )
    for schedule in found.schedules:
        if getattr(schedule.scheduler, "optimizer", found.optimizers[0]) not in found.optimizers:
            raise ConfigurationError(
                asked=f"{type(module).__name__}.configure_optimizers()",
                found=f"its {type(schedule.scheduler).__name__} belongs to an optimizer that it did not return",
                do="Return that optimizer too, or make the schedule with one of those returned.",
            )


def _without_parameters(module: Module) -> ConfigurationError:
    sizes = [one.requires_grad for one in module.parameters()]
    state = f"all {len(sizes)} parameters are frozen" if sizes and not any(sizes) else "it has no parameter"
    return ConfigurationError(
        asked=f"{type(module).__name__}.configure_optimizers() is to say what is trained",
        found="its optimizers got no parameter that requires a gradient" if any(sizes) else state,
        do="Give self.parameters() to the optimizer, once the layers are attributes of the Module and not frozen.",
    )


def _schedulers_beside(given: Mapping[str, Any]) -> list[Any]:
    """The schedule beside an optimizer, with the metric to watch, which may stand beside it too."""
    schedule = given.get("lr_scheduler")
    if "monitor" in given and schedule is not None:
        inner = dict(schedule) if isinstance(schedule, Mapping) else {"scheduler": schedule}
        schedule = {"monitor": given["monitor"], **inner}
    return [] if schedule is None else [schedule]


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
