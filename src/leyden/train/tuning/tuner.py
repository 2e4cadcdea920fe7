"""How does one ask for a learning rate or a batch size, apart from a training? `Tuner(trainer)`, as in Lightning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.module import DataModule, Module
from leyden.train.stage import Stage
from leyden.train.tuning.rates import LRSearch, LRSweep
from leyden.train.tuning.sizes import SizeSearch

if TYPE_CHECKING:
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer

_METHODS = ("fit", "validate", "test", "predict")


class Tuner:
    """Tries settings by short trainings with the Trainer's devices, ranks and precision.

    Neither module nor Trainer are changed by it, but for the attribute that is looked for. Callbacks and loggers do not
    take part, schedules do not move.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(
        self,
        model: Module,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        *,
        datamodule: DataModule | None = None,
        method: str = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRSweep | None:
        """Train `num_training` steps with a growing rate; `model.lr` or `.learning_rate` (or hparams) is then set.

        The search ends early where the smoothed loss exceeds `early_stop_threshold` times its best. Parameter groups
        keep their rates' proportions. `val_dataloaders` is taken as `fit` takes it; nothing is validated. None with
        `fast_dev_run`. Raises ConfigurationError where there is no such attribute, and for manual optimization. See
        `LRSweep` for the source.
        """
        if method != "fit":
            raise ConfigurationError(
                asked=f"lr_find(method={method!r})", found="only fit has a rate", do="Leave it out."
            )
        search = LRSearch(
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=num_training,
            mode=mode,
            early_stop_threshold=early_stop_threshold,
            update_attr=update_attr,
            attr_name=attr_name,
        )
        if isinstance(train_dataloaders, DataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        found: LRSweep | None = self._within(
            "fit", model, datamodule, lambda twin, session: search.run(twin, session, train_dataloaders)
        )
        return found

    def scale_batch_size(
        self,
        model: Module,
        datamodule: DataModule | None = None,
        *,
        method: str = "fit",
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> int | None:
        """The largest batch size whose steps fit the memory of every rank; `batch_size` is then set to it.

        See `SizeSearch` for the settings. Works on an attribute or hyperparameter of the Module or DataModule, whose
        loaders are made anew for each trial. None with `fast_dev_run`. Raises ConfigurationError where there is no such
        attribute, and with strategy="fsdp" on several ranks.
        """
        if method not in _METHODS:
            raise ConfigurationError(asked=f"method={method!r}", found="it is unknown", do=nearest(method, _METHODS))
        search = SizeSearch(
            mode=mode,
            steps_per_trial=steps_per_trial,
            init_val=init_val,
            max_trials=max_trials,
            batch_arg_name=batch_arg_name,
            margin=margin,
            max_val=max_val,
        )
        found: int | None = self._within(
            method, model, datamodule, lambda twin, session: search.run(twin, session, method)
        )
        return found

    def _within(
        self,
        method: str,
        model: Module,
        datamodule: DataModule | None,
        search: Callable[[Trainer, Session], Any],
    ) -> Any:
        """Search between `setup` and `teardown`, on all ranks, with a Trainer that has no callbacks and loggers."""
        twin = copy.copy(self._trainer)
        twin.callbacks, twin.loggers, twin.profiler = [], [], None
        twin._forget()
        before = model._trainer
        try:
            with Stage(twin, method, model, datamodule, None) as stage:
                return search(twin, stage.session)
        finally:
            model._trainer = before
            self._trainer.run = twin.run  # ranks that were started belong to it
            self._trainer._plan = twin._plan
