"""The finders of a learning rate and a batch size, with Lightning's arguments."""

from __future__ import annotations

from typing import Any

from leyden import train
from leyden.train import tuning
from leyden.train.tuning import LRSweep as _LRFinder  # noqa: F401  Lightning's name for it

__all__ = ["Tuner"]


class Tuner(tuning.Tuner):
    """`leyden.train.tuning.Tuner`."""

    def lr_find(
        self,
        model: train.Module,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: train.DataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-08,
        max_lr: float = 1,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> tuning.LRSweep | None:
        """As `leyden.train.tuning.Tuner.lr_find`."""
        return super().lr_find(
            model,
            train_dataloaders,
            val_dataloaders,
            datamodule=datamodule,
            method=method,
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=num_training,
            mode=mode,
            early_stop_threshold=early_stop_threshold,
            update_attr=update_attr,
            attr_name=attr_name,
        )

    def scale_batch_size(  # type: ignore[override]
        self,
        model: train.Module,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: train.DataModule | None = None,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """As `leyden.train.tuning.Tuner.scale_batch_size`; loaders are made anew, so none can be given."""
        return super().scale_batch_size(
            model,
            train_dataloaders if isinstance(train_dataloaders, train.DataModule) else datamodule,
            method=method,
            mode=mode,
            steps_per_trial=steps_per_trial,
            init_val=init_val,
            max_trials=max_trials,
            batch_arg_name=batch_arg_name,
            margin=margin,
            max_val=max_val,
        )
