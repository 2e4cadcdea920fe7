"""Is the mean of the weights along the way better than the last ones?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.averages import Averages, MultiAverage, check_sharding
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class WeightAveraging(Callback):
    """Average the weights while training; validation sees the averages, and the module holds them after `fit`.

    Override `should_update` to say when; by default after every optimizer step. All weights count equally unless
    `avg_fn(average, weight, count)` or `multi_avg_fn`, its form for lists that works in place, says otherwise.
    A checkpoint's weights are the averages; going on from it restores both, bit for bit. `device` keeps the averages
    elsewhere, `use_buffers=False` copies buffers instead of averaging them. With strategy="fsdp" each rank averages its
    part; raises ConfigurationError for `device` or sharded checkpoints there.
    Source: Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", section 2.
    """

    shows = True
    """Whether validation and checkpoints have the averages already while training goes on."""

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        *,
        avg_fn: Callable[[Tensor, Tensor, int], Tensor] | None = None,
        multi_avg_fn: MultiAverage | None = None,
    ) -> None:
        if avg_fn is not None and multi_avg_fn is not None:
            raise ConfigurationError(
                asked="WeightAveraging(avg_fn=…, multi_avg_fn=…)", found="both say how to average", do="Give only one."
            )
        self._device, self._use_buffers = device, use_buffers
        each = _for_each(avg_fn) if avg_fn is not None else None
        self._multi_avg_fn: MultiAverage = each or multi_avg_fn or get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
        self.averages: Averages | None = None
        self._latest_update_step, self._latest_update_epoch = 0, -1
        self._loaded: dict[str, Any] | None = None
        self._over = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after the optimizer step `step_idx`, or after the epoch `epoch_idx`; both count from 0."""
        return step_idx is not None

    def state_dict(self) -> dict[str, Any]:
        if self.averages is None:
            return {}
        steps = {"latest_update_step": self._latest_update_step, "latest_update_epoch": self._latest_update_epoch}
        return {**steps, "averages": self.averages.state(given=self.shows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict["latest_update_epoch"]
        self._loaded = state_dict["averages"]

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        if stage == "fit":
            check_sharding(trainer, type(self).__name__, self._device)
            self._over = False
            self._latest_update_step, self._latest_update_epoch = 0, -1
            self.averages = Averages(pl_module, self._multi_avg_fn, device=self._device, buffers=self._use_buffers)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Module, checkpoint: dict[str, Any]) -> None:
        loaded, self._loaded = self._loaded, None
        if self.averages is not None and loaded is not None:
            self.averages.load(loaded)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Module, checkpoint: dict[str, Any]) -> None:
        if self.averages is not None and self.shows:
            self.averages.give(checkpoint["state_dict"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if self.averages and step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self.averages.update()
            self._latest_update_step = step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        epoch = trainer.current_epoch
        if self.averages and epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self.averages.update()
            self._latest_update_epoch = epoch

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        if self.averages is not None and self.shows:
            self.averages.put_in()

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self.averages is not None:
            self.averages.take_out()

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._over = True
        if self.averages is not None:
            self.averages.put_in()

    def on_exception(self, trainer: Trainer, pl_module: Module, exception: BaseException) -> None:
        if self.averages is not None and not self._over:  # within a validation, that is
            self.averages.take_out()

    def teardown(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        if self.averages is not None:
            self.averages.close()
            self.averages = None


class EMAWeightAveraging(WeightAveraging):
    """Exponential moving average: average ← decay · average + (1 - decay) · weight, every n steps from a step on.

    `update_starting_at_step` counts optimizer steps from 0; before it the weights themselves are validated.
    `update_starting_at_epoch` averages after every epoch from that one on, besides.
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        if not 0.0 <= decay <= 1.0:
            raise ConfigurationError(asked=f"decay={decay}", found="it must be between 0 and 1", do="Use decay=0.999.")
        super().__init__(device, use_buffers, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None and self.update_every_n_steps > 0:
            return step_idx >= (self.update_starting_at_step or 0) and step_idx % self.update_every_n_steps == 0
        first = self.update_starting_at_epoch
        return epoch_idx is not None and first is not None and epoch_idx >= first


def _for_each(average: Callable[[Tensor, Tensor, int], Tensor]) -> MultiAverage:
    def averages(averaged: Any, current: Any, count: int) -> None:
        for value, weight in zip(averaged, current, strict=True):
            value.copy_(average(value, weight, count))

    return averages
