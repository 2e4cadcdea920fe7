"""Which learning rates does training run with, step by step?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.optimizers import Optimization
    from leyden.train.trainer import Trainer


class LearningRateMonitor(Callback):
    """Log every learning rate as `lr-Adam`, `lr-Adam-1` (a second Adam) or `lr-Adam/pg1` (its first parameter group).

    `logging_interval`: "step", "epoch", or None for the interval of each optimizer's schedule ("step" without one).
    With `scale_lr` the rates are those of the step, scaled and warmed up.
    A schedule's or parameter group's own `name` takes the place of `lr-Adam` or `pg1`. `log_momentum` and
    `log_weight_decay` add `…-momentum` (the first of the betas, where there are betas) and `…-weight_decay`.
    """

    def __init__(
        self, logging_interval: str | None = None, log_momentum: bool = False, log_weight_decay: bool = False
    ) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise ConfigurationError(
                asked=f"logging_interval={logging_interval!r}", found="it is unknown", do='Use "step", "epoch" or None.'
            )
        self.logging_interval, self.log_momentum = logging_interval, log_momentum
        self.log_weight_decay = log_weight_decay
        self._watched: list[_Watched] = []
        self._epoch_begins = False
        self._last_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._watched = list(_watch(pl_module._running().optimization))
        self._last_step = -1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._epoch_begins = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self._last_step:  # a micro-batch: nothing can have moved
            return
        begins, self._epoch_begins = self._epoch_begins, False
        self._last_step = trainer.global_step
        scaled = trainer._fit.large_batch if trainer._fit else None
        factor = scaled.factor if scaled else 1.0
        for one in self._watched:
            if begins or (self.logging_interval or one.interval) == "step":
                for name, group in one.groups():
                    pl_module.log(name, group["lr"] * factor)
                    if self.log_momentum:
                        betas = group.get("betas")
                        pl_module.log(f"{name}-momentum", betas[0] if betas else group.get("momentum", 0.0))
                    if self.log_weight_decay:
                        pl_module.log(f"{name}-weight_decay", group.get("weight_decay", 0.0))


@dataclass(frozen=True, kw_only=True)
class _Watched:
    optimizer: Optimizer
    name: str
    interval: str

    def groups(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every parameter group with its name; asked anew each time, for groups may be added while training."""
        groups = self.optimizer.param_groups
        for number, group in enumerate(groups, start=1):
            own = group.get("name", f"pg{number}" if len(groups) > 1 else None)
            yield (f"{self.name}/{own}" if own else self.name), group


def _watch(optimization: Optimization) -> Iterator[_Watched]:
    seen: Counter[str] = Counter()
    for optimizer in optimization.optimizers:
        schedule = next((one for one in optimization.schedules if one.scheduler.optimizer is optimizer), None)
        kind = f"lr-{type(optimizer).__name__}"
        number, seen[kind] = seen[kind], seen[kind] + 1
        name = getattr(schedule, "name", None) or (f"{kind}-{number}" if number else kind)
        names = [group["name"] for group in optimizer.param_groups if "name" in group]
        if len(set(names)) < len(names):
            raise ConfigurationError(
                asked=f"LearningRateMonitor on {type(optimizer).__name__}",
                found=f"two of its parameter groups have one name: {', '.join(names)}",
                do="Give each group a name of its own.",
            )
        yield _Watched(optimizer=optimizer, name=name, interval=schedule.interval if schedule else "step")
