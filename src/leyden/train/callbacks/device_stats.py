"""How full are the device and the machine while training runs?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
import torch

from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class DeviceStatsMonitor(Callback):
    """Log `DeviceStatsMonitor.on_train_batch_end/…` once every `log_every_n_steps` steps; in evaluation every so many
    batches, as `…on_validation_batch_end/…` and `…on_test_batch_end/…`.

    CUDA: everything `torch.cuda.memory_stats` counts (`allocated_bytes.all.peak`, `num_alloc_retries`, …; bytes and
    counts since the process began). CPU, where training runs on it or `cpu_stats=True`: `cpu_percent`,
    `cpu_vm_percent` (memory), `cpu_swap_percent` of the whole machine, by psutil. `cpu_stats=False` leaves them out.
    """

    def __init__(self, cpu_stats: bool | None = None) -> None:
        self._cpu_stats = cpu_stats

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        psutil.cpu_percent()  # the first call opens the interval that the next one measures

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._log(trainer, pl_module, "on_train_batch_end", trainer.global_step)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log(trainer, pl_module, "on_validation_batch_end", batch_idx + 1)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._log(trainer, pl_module, "on_test_batch_end", batch_idx + 1)

    def _log(self, trainer: Trainer, module: Module, moment: str, count: int) -> None:
        if count % trainer.plan.log_every_n_steps == 0 and not trainer.sanity_checking:
            for name, value in read_stats(trainer.plan.device, self._cpu_stats).items():
                module.log(f"DeviceStatsMonitor.{moment}/{name}", value, on_step=True, on_epoch=False)


def read_stats(device: torch.device, cpu_stats: bool | None = None) -> dict[str, float]:
    """What the device, and the machine where it is wanted, say of themselves now."""
    stats: dict[str, float] = {}
    if device.type == "cuda":
        stats |= {name: float(value) for name, value in torch.cuda.memory_stats(device).items()}
    if cpu_stats or (cpu_stats is None and device.type == "cpu"):
        stats["cpu_percent"] = psutil.cpu_percent()
        stats["cpu_vm_percent"] = psutil.virtual_memory().percent
        stats["cpu_swap_percent"] = psutil.swap_memory().percent
    return stats
