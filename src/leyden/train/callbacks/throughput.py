"""How much does training get through in a second, and what share of the device's peak is that?"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback
from leyden.train.logs.logbook import batch_size_of
from leyden.train.peak import peak_flops

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class ThroughputMonitor(Callback):
    """Log rates over the last `window_size` batches, once every `log_every_n_steps` optimizer steps.

    Under `train/device/`, for one rank: `batches_per_sec`, `samples_per_sec`, `steps_per_sec` (optimizer steps),
    `items_per_sec` with `length_fn`, `flops_per_sec` with `flops_per_batch` (an attribute of the Module or given here:
    floating-point operations of forward and backward, for one batch of one rank) and `mfu`, their share of
    `available_flops` (FLOP/s; by default the device's peak, where `leyden.train.peak` knows it); under `train/` without
    `device/` the same for all ranks together, where there are several, and `time` (s), `batches`, `samples`, `lengths`
    since training began. `train/device/data_wait` is the share of the time spent waiting for batches. Validation is
    left out of all of them. On a GPU each reading waits for the device, once an interval and not once a batch.
    `batch_size_fn(batch)` counts samples (default: the length of the first tensor), `length_fn(batch)` items, such as
    tokens.
    Source of MFU: Chowdhery et al. 2022, "PaLM", appendix B.
    """

    def __init__(
        self,
        batch_size_fn: Callable[[Any], int] = batch_size_of,
        length_fn: Callable[[Any], int] | None = None,
        *,
        available_flops: float | None = None,
        flops_per_batch: float | None = None,
        window_size: int = 100,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if window_size < 1:
            raise ConfigurationError(asked=f"window_size={window_size}", found="it is below 1", do="Use 100.")
        self.batch_size_fn, self.length_fn = batch_size_fn, length_fn
        self.available_flops, self.flops_per_batch = available_flops, flops_per_batch
        self.window_size, self._clock = window_size, clock
        self._peak = available_flops
        self._clear()

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._clear()
        self._peak = self.available_flops or peak_flops(trainer.plan.device, trainer.plan.precision)
        self._first_step = self._step = trainer.global_step
        self._read(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> None:
        self._waited_s += self._clock() - self._asked_at

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._batches += 1
        self._samples += self.batch_size_fn(batch)
        self._lengths += self.length_fn(batch) if self.length_fn is not None else 0
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            if self._step % trainer.plan.log_every_n_steps == 0:
                self._read(trainer)
                self._log(trainer, pl_module)
        self._asked_at = self._clock()

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._paused_at = self._clock()

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        took = self._clock() - self._paused_at
        self._away_s += took
        self._asked_at += took

    def _clear(self) -> None:
        self._batches = self._samples = self._lengths = self._step = self._first_step = 0
        self._waited_s = self._away_s = self._paused_at = 0.0
        self._asked_at = self._began_at = self._clock()
        self._readings: deque[_Reading] = deque()

    def _read(self, trainer: Trainer) -> None:
        if trainer.plan.device.type == "cuda":
            torch.cuda.synchronize()
        now = _Reading(
            time_s=self._clock() - self._began_at - self._away_s,
            waited_s=self._waited_s,
            steps=self._step - self._first_step,
            batches=self._batches,
            samples=self._samples,
            lengths=self._lengths,
        )
        self._readings.append(now)
        # the oldest one that is at least a window away stays, for the window begins with it
        while len(self._readings) > 2 and now.batches - self._readings[1].batches >= self.window_size:
            self._readings.popleft()

    def _log(self, trainer: Trainer, module: Module) -> None:
        first, last = self._readings[0], self._readings[-1]
        took, world = last.time_s - first.time_s, trainer.plan.world.size
        module.log("train/time", last.time_s)
        module.log("train/batches", float(last.batches))
        module.log("train/samples", float(last.samples))
        counts: dict[str, float] = {
            "batches": last.batches - first.batches,
            "samples": last.samples - first.samples,
            "steps": last.steps - first.steps,
        }
        if self.length_fn is not None:
            module.log("train/lengths", float(last.lengths))
            counts["items"] = last.lengths - first.lengths
        flops = getattr(module, "flops_per_batch", self.flops_per_batch)
        if flops is not None:
            counts["flops"] = counts["batches"] * flops
        if took <= 0:
            return
        for name, count in counts.items():
            module.log(f"train/device/{name}_per_sec", count / took)
            if world > 1:
                module.log(f"train/{name}_per_sec", count / took * (1 if name == "steps" else world))
        module.log("train/device/data_wait", (last.waited_s - first.waited_s) / took)
        if flops is not None and self._peak:
            module.log("train/device/mfu", counts["flops"] / took / self._peak)


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What had been done by a moment, since training began."""

    time_s: float
    waited_s: float
    steps: int
    batches: int
    samples: int
    lengths: int
