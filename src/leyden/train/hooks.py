"""At which moments may user code step in, and who does?

A Module and a Callback share the names; a callback's hooks take (trainer, module) before the arguments shown here. Only
hooks that are really overridden are called: `collect` looks once, before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leyden.train.callbacks.base import Callback
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

Hook = Callable[..., Any]


class TransferHooks:
    """A batch on its way to the device; of a DataModule and a Module that override the same one, the first holds."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch as it is to be moved to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Return the batch on the device; override it for containers that know no `to`."""
        from leyden.train.feeding.loaders import to_device

        return to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return the batch as the step is to get it: the place for augmentation on the device."""
        return batch


class Hooks(TransferHooks):
    """The moments of a Module, in the order they come. All are empty; override what is needed."""

    def setup(self, stage: str) -> None:
        """Before anything else, on every rank; `stage` is "fit", "validate", "test" or "predict"."""

    def teardown(self, stage: str) -> None:
        """After everything else."""

    def on_fit_start(self) -> None:
        """The model is on its device; nothing has run."""

    def on_fit_end(self) -> None:
        """Training is over, the last checkpoint is written."""

    def on_train_start(self) -> None:
        """Before the first epoch; a checkpoint, if any, has been loaded."""

    def on_train_end(self) -> None:
        """After the last epoch."""

    def on_train_epoch_start(self) -> None:
        """Before the first batch of an epoch."""

    def on_train_epoch_end(self) -> None:
        """After the last batch of an epoch and its validation."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """The batch is on the device. Return -1 to skip the rest of the epoch."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the optimizer's step, or after the backward pass of a micro-batch that accumulates."""

    def on_before_backward(self, loss: Any) -> None:
        """The loss of this batch is known."""

    def on_after_backward(self) -> None:
        """Gradients of this batch are there."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Gradients are complete and not yet clipped."""

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """The next loss is known; gradients of the step before are still there."""

    def on_validation_model_zero_grad(self) -> None:
        """Before a validation during fit: gradients need not stay in memory."""

    def on_validation_model_eval(self) -> None:
        """Before anything of a validation; the module has just gone to evaluation mode."""

    def on_validation_model_train(self) -> None:
        """After anything of a validation; every submodule is in the mode it was in before."""

    def on_validation_start(self) -> None:
        """Before a validation."""

    def on_validation_end(self) -> None:
        """After a validation; its metrics are in `trainer.callback_metrics`."""

    def on_validation_epoch_start(self) -> None:
        """As `on_validation_start`, after it."""

    def on_validation_epoch_end(self) -> None:
        """After the last validation batch; what is logged here counts for the epoch."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before one batch."""

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After one batch."""

    def on_test_model_eval(self) -> None:
        """As `on_validation_model_eval`, for a test."""

    def on_test_model_train(self) -> None:
        """As `on_validation_model_train`, for a test."""

    def on_test_start(self) -> None:
        """Before a test."""

    def on_test_end(self) -> None:
        """After a test."""

    def on_test_epoch_start(self) -> None:
        """As `on_test_start`, after it."""

    def on_test_epoch_end(self) -> None:
        """After the last test batch."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before one batch."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After one batch."""

    def on_predict_model_eval(self) -> None:
        """As `on_validation_model_eval`, for a prediction."""

    def on_predict_model_train(self) -> None:
        """As `on_validation_model_train`, for a prediction."""

    def on_predict_start(self) -> None:
        """Before a prediction."""

    def on_predict_end(self) -> None:
        """After a prediction."""

    def on_predict_epoch_start(self) -> None:
        """As `on_predict_start`, after it."""

    def on_predict_epoch_end(self) -> None:
        """After the last batch."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Before one batch."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """After one batch."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add plain data and tensors to the checkpoint; the weights it will hold are `checkpoint["state_dict"]`."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read what `on_save_checkpoint` added."""


def collect(
    name: str, trainer: Trainer, module: Module, callbacks: Iterable[Callback], *, own: bool = True
) -> tuple[Hook, ...]:
    """Who overrides the hook `name`: callbacks in their order, then the module (if `own`); ready to be called."""
    from leyden.train.callbacks.base import Callback

    empty = getattr(Callback, name, None)  # None: a moment of Modules alone
    found: list[Hook] = [
        partial(getattr(one, name), trainer, module)
        for one in callbacks
        if empty is not None and getattr(type(one), name) is not empty
    ]
    if own and getattr(type(module), name, None) is not getattr(Hooks, name, None):
        found.append(getattr(module, name))
    return tuple(found)
