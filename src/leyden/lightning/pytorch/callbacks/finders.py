"""The finders of a learning rate and a batch size, run when `fit` begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leyden import train

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer


class LearningRateFinder(train.Callback):
    """Look for a learning rate before training and set it; what was found is `optimal_lr`."""

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        self._settings = {"min_lr": min_lr, "max_lr": max_lr, "num_training": num_training_steps, "mode": mode}
        self._settings |= {"early_stop_threshold": early_stop_threshold, "attr_name": attr_name}
        self._update_attr = update_attr
        self.optimal_lr: Any = None

    def lr_find(self, trainer: Trainer, pl_module: Any) -> None:
        """Look now."""
        from leyden.lightning.pytorch.tuner import find_lr

        self.optimal_lr = find_lr(trainer, pl_module, update_attr=self._update_attr, **self._settings)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        self.lr_find(trainer, pl_module)


class BatchSizeFinder(train.Callback):
    """Look for the largest batch size that fits the memory and set it; what was found is `optimal_batch_size`."""

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        self._settings = {"mode": mode, "steps_per_trial": steps_per_trial, "init_val": init_val}
        self._settings |= {"max_trials": max_trials, "batch_arg_name": batch_arg_name}
        self._settings |= {"margin": margin, "max_val": max_val}
        self.optimal_batch_size: int | None = None

    def scale_batch_size(self, trainer: Trainer, pl_module: Any) -> None:
        """Look now."""
        from leyden.lightning.pytorch.tuner import find_batch_size

        self.optimal_batch_size = find_batch_size(trainer, pl_module, **self._settings)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        self.scale_batch_size(trainer, pl_module)
