"""Has the loss become NaN or jumped, and what becomes of training then?"""

from __future__ import annotations

import copy
import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.callbacks.averages import Averages
from leyden.train.callbacks.base import Callback
from leyden.train.callbacks.weight_averaging import WeightAveraging
from leyden.train.checkpoints.tensorfile import local

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

_ACTIONS = ("warn", "stop", "rollback")
_SIGMA = 1.4826  # standard deviations in a median absolute deviation, for normally distributed numbers


class LossGuard(Callback):
    """Watch for a loss that is not finite, or more than `threshold` robust deviations above the running median.

    The median and the deviation (1.4826 · median absolute deviation, at least 1 % of the median) are those of the last
    `window` good losses; before there are so many, only losses that are not finite count. `action`: "warn" says so,
    "stop" ends training, "rollback" puts weights, averages and optimizer moments back to a snapshot held in memory and
    goes on with the next batch, so that the data between is not seen again; the step count and the learning rates go on
    as if nothing had happened. A snapshot is taken every `snapshot_every_n_steps` and with every checkpoint. If the
    very next look is bad again, the snapshot before is used. More than `max_rollbacks` end training.
    Losses are looked at every `check_every_n_steps`: on a GPU each look waits for the device, with several ranks it is
    a collective. Counts are in `spikes` and `rollbacks`, and are logged as `loss_guard_spikes` when they change.
    Sources: Leys et al. 2013, "Detecting outliers", section 2 (the deviation); Chowdhery et al. 2022, "PaLM",
    section 5.1 (going back and skipping the batches).
    """

    def __init__(
        self,
        window: int = 100,
        threshold: float = 10.0,
        action: str = "warn",
        *,
        snapshot_every_n_steps: int = 50,
        check_every_n_steps: int = 1,
        max_rollbacks: int = 10,
    ) -> None:
        if action not in _ACTIONS:
            raise ConfigurationError(asked=f"action={action!r}", found="it is unknown", do=nearest(action, _ACTIONS))
        counts = {"window": window, "snapshot_every_n_steps": snapshot_every_n_steps}
        for name, number in {**counts, "check_every_n_steps": check_every_n_steps, "threshold": threshold}.items():
            if number <= 0:
                raise ConfigurationError(asked=f"{name}={number}", found="it must be above 0", do="Leave it out.")
        self.threshold, self.action, self.max_rollbacks = threshold, action, max_rollbacks
        self.snapshot_every_n_steps, self.check_every_n_steps = snapshot_every_n_steps, check_every_n_steps
        self.spikes = self.rollbacks = 0
        self._good: deque[float] = deque(maxlen=window)
        self._waiting: list[Tensor | float] = []
        self._step = self._taken_at = 0
        self._again = False  # whether nothing good was seen since the last rollback
        self._snapshots: list[_Snapshot] = []  # at most two, the newest last
        self._running: tuple[Trainer, Module] | None = None

    def state_dict(self) -> dict[str, Any]:
        if self._running is not None and self.action == "rollback":
            self._snapshots = [_Snapshot.take(*self._running)]  # what a resumed run would have, and no other
            self._taken_at = self._step
        counts = {"spikes": self.spikes, "rollbacks": self.rollbacks, "again": self._again}
        return {**counts, "good": list(self._good), "waiting": [float(one) for one in self._waiting]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spikes, self.rollbacks = state_dict["spikes"], state_dict["rollbacks"]
        self._again, self._waiting = state_dict["again"], list(state_dict["waiting"])
        self._good.extend(state_dict["good"])

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._running = trainer, pl_module
        self._step = self._taken_at = trainer.global_step
        if self.action == "rollback":
            self._snapshots = [_Snapshot.take(trainer, pl_module)]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._waiting.append(loss.detach())
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.check_every_n_steps == 0:
            self._check(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        self._running, self._snapshots = None, []

    def _check(self, trainer: Trainer, module: Module) -> None:
        mine = [float(one) for one in self._waiting]
        self._waiting = []
        everyone = trainer.plan.world.gather(mine)
        for loss in (statistics.fmean(ranks) for ranks in zip(*everyone, strict=False)):
            why = self._judge(loss)
            if math.isfinite(loss) and (why is None or self.action == "warn"):
                self._good.append(loss)
            if why is not None:
                self._act(trainer, module, why)
                return
        self._again = False
        if self.action == "rollback" and self._step - self._taken_at >= self.snapshot_every_n_steps:
            self._snapshots = [*self._snapshots[-1:], _Snapshot.take(trainer, module)]
            self._taken_at = self._step

    def _judge(self, loss: float) -> str | None:
        """What is wrong with a loss, in words; None for a good one."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if len(self._good) < (self._good.maxlen or 0):
            return None
        median = statistics.median(self._good)
        deviation = max(_SIGMA * statistics.median(abs(one - median) for one in self._good), 0.01 * abs(median))
        above = (loss - median) / deviation if deviation else math.inf if loss > median else 0.0
        if above <= self.threshold:
            return None
        return f"the loss is {loss:.4g}, {above:.1f} deviations above the median {median:.4g} of the last losses"

    def _act(self, trainer: Trainer, module: Module, why: str) -> None:
        self.spikes += 1
        module.log("loss_guard_spikes", float(self.spikes))
        then = ""
        if self.action == "rollback":
            if self._again and len(self._snapshots) > 1:
                self._snapshots.pop()  # it holds what made the loss bad
            self._snapshots[-1].restore(trainer, module)
            self._again = True
            self.rollbacks += 1
            then = f": back to the weights of step {self._snapshots[-1].step}, going on with the next batch"
        if self.action == "stop" or self.rollbacks > self.max_rollbacks:
            trainer.should_stop = True
            then += ": stopping" if self.action == "stop" else f"; {self.rollbacks} rollbacks are too many: stopping"
        trainer.say(f"step {self._step}: {why}{then}")


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """Weights, averages of weights and optimizer moments of one moment, in host memory; of each, this rank's part."""

    step: int
    weights: dict[str, Tensor]
    moments: list[list[dict[str, Any]]]
    averages: list[tuple[int, dict[str, Tensor]]]

    @classmethod
    def take(cls, trainer: Trainer, module: Module) -> _Snapshot:
        return cls(
            step=trainer.global_step,
            weights={name: _copied(one) for name, one in module.state_dict().items() if isinstance(one, Tensor)},
            moments=[
                [
                    {key: _copied(value) for key, value in one.state.get(parameter, {}).items()}
                    for parameter in _moved(one)
                ]
                for one in trainer.optimizers
            ],
            averages=[one.parts() for one in _averages(trainer)],
        )

    @torch.no_grad()
    def restore(self, trainer: Trainer, module: Module) -> None:
        now = module.state_dict()
        for name, weight in self.weights.items():
            local(now[name]).copy_(weight)
        for optimizer, moments in zip(trainer.optimizers, self.moments, strict=True):
            for parameter, before in zip(_moved(optimizer), moments, strict=False):
                if not before:
                    optimizer.state.pop(parameter, None)
                for key, value in before.items():
                    mine = optimizer.state[parameter].get(key)
                    if isinstance(mine, Tensor) and isinstance(value, Tensor):
                        local(mine).copy_(value)
                    else:
                        optimizer.state[parameter][key] = copy.deepcopy(value)
        for averages, parts in zip(_averages(trainer), self.averages, strict=True):
            averages.put_back(parts)


def _averages(trainer: Trainer) -> list[Averages]:
    return [one.averages for one in trainer.callbacks if isinstance(one, WeightAveraging) and one.averages]


def _moved(optimizer: Optimizer) -> list[Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]


def _copied(value: Any) -> Any:
    """A copy on the host of what this rank holds of a tensor; a copy of anything else."""
    return local(value.detach()).to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
