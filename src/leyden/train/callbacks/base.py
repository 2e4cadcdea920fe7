"""What can be added to training without touching the Module? Callbacks: hooks with (trainer, module) in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class Callback:
    """Base of callbacks; override what is needed. The moments are those of `leyden.train.hooks.Hooks`."""

    judges = False
    """Whether its `on_train_epoch_end` looks at the epoch's metrics, and so comes after the Module's own."""

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint."""
        return type(self).__qualname__

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep of this callback, as plain data and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        """Before anything else."""

    def teardown(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        """After everything else, also after an error."""

    def on_fit_start(self, trainer: Trainer, pl_module: Module) -> None:
        """The model is on its device; nothing has run."""

    def on_fit_end(self, trainer: Trainer, pl_module: Module) -> None:
        """Training is over."""

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before the first epoch."""

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After the last epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before the first batch of an epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After the last batch of an epoch and its validation."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> int | None:
        """The batch is on the device. Return -1 to skip the rest of the epoch."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the optimizer's step."""

    def on_before_backward(self, trainer: Trainer, pl_module: Module, loss: Any) -> None:
        """The loss of this batch is known."""

    def on_after_backward(self, trainer: Trainer, pl_module: Module) -> None:
        """Gradients of this batch are there."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Module, optimizer: Any) -> None:
        """Gradients are complete and not yet clipped."""

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Module, optimizer: Any) -> None:
        """The next loss is known; gradients of the step before are still there."""

    def on_sanity_check_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before the few validation batches that are tried before training."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After them."""

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before a validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After a validation; its metrics are in `trainer.callback_metrics`."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        """As `on_validation_start`, after it."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After the last validation batch."""

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before one batch."""

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After one batch."""

    def on_test_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before a test."""

    def on_test_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After a test."""

    def on_test_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        """As `on_test_start`, after it."""

    def on_test_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After the last test batch."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before one batch."""

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After one batch."""

    def on_predict_start(self, trainer: Trainer, pl_module: Module) -> None:
        """Before a prediction."""

    def on_predict_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After a prediction."""

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        """As `on_predict_start`, after it."""

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        """After the last batch."""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Before one batch."""

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """After one batch."""

    def on_exception(self, trainer: Trainer, pl_module: Module, exception: BaseException) -> None:
        """Training ends with this error."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Module, checkpoint: dict[str, Any]) -> None:
        """Add plain data and tensors to the checkpoint; the weights it will hold are `checkpoint["state_dict"]`."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Module, checkpoint: dict[str, Any]) -> None:
        """Read what `on_save_checkpoint` added."""

    def on_checkpoint_due(self, trainer: Trainer, pl_module: Module, epoch_end: bool) -> None:
        """A moment at which a checkpoint resumes exactly: after an optimizer step, or after a whole epoch."""
