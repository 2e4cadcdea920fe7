"""How are the arguments of modules, callbacks, optimizers and schedules asked for, and kept beside the logs?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leyden.core.errors import ConfigurationError
from leyden.lightning.pytorch.callbacks import Callback
from leyden.lightning.pytorch.trainer.trainer import Trainer

try:
    from jsonargparse import (  # type: ignore[attr-defined]  # it exports them by a star
        ActionConfigFile,
        ArgumentParser,
        Namespace,
    )
except ImportError as _error:
    raise ConfigurationError(
        asked="leyden.lightning.pytorch.cli was imported",
        found="jsonargparse is not installed for this Python",
        do="Install it with: pip install 'leyden[cli]'",
    ) from _error


__all__ = [
    "ActionConfigFile",
    "ArgumentParser",
    "LRSchedulerTypeTuple",
    "LightningArgumentParser",
    "Namespace",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
]


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """PyTorch's schedule with the name of the metric it watches."""

    def __init__(self, optimizer: Optimizer, monitor: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, *args, **kwargs)
        self.monitor = monitor


LRSchedulerTypeTuple = (LRScheduler, ReduceLROnPlateau)


class LightningArgumentParser(ArgumentParser):
    """jsonargparse's parser with methods for modules, callbacks, optimizers and schedules."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.callback_keys: list[str] = []
        self._optimizers: dict[str, tuple[Any, str]] = {}
        self._lr_schedulers: dict[str, tuple[Any, str]] = {}

    def add_lightning_class_args(
        self, lightning_class: Any, nested_key: str, subclass_mode: bool = False, required: bool = True
    ) -> list[str]:
        """The arguments of a class, or (`subclass_mode`) of whichever class is chosen; callbacks join the Trainer's."""
        if not isinstance(lightning_class, type) and not callable(lightning_class):
            raise ConfigurationError(
                asked=f"add_lightning_class_args({lightning_class!r})", found="it is no class", do="Give a class."
            )
        if isinstance(lightning_class, type) and issubclass(lightning_class, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            added = self.add_subclass_arguments(lightning_class, nested_key, fail_untyped=False, required=required)
        else:
            instantiate = isinstance(lightning_class, type) and not issubclass(lightning_class, Trainer)
            added = self.add_class_arguments(
                lightning_class, nested_key, fail_untyped=False, instantiate=instantiate, sub_configs=True
            )
        return list(added or [])

    def add_optimizer_args(
        self, optimizer_class: Any = (Optimizer,), nested_key: str = "optimizer", link_to: str = "AUTOMATIC"
    ) -> None:
        """The arguments of an optimizer, of one class or a choice; the module's optimizer is then made of them."""
        self._add_late(optimizer_class, nested_key, {"params"})
        self._optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: Any = LRSchedulerTypeTuple,
        nested_key: str = "lr_scheduler",
        link_to: str = "AUTOMATIC",
    ) -> None:
        """The arguments of a schedule, of one class or a choice; the module's schedule is then made of them."""
        self._add_late(lr_scheduler_class, nested_key, {"optimizer"})
        self._lr_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_late(self, kinds: Any, nested_key: str, skip: set[str]) -> None:
        """What needs parameters, or an optimizer, that are not there when everything else is made."""
        options: dict[str, Any] = {"instantiate": False, "fail_untyped": False, "skip": skip}
        if isinstance(kinds, tuple):
            self.add_subclass_arguments(kinds, nested_key, required=False, **options)
        else:
            self.add_class_arguments(kinds, nested_key, sub_configs=True, **options)


class SaveConfigCallback(Callback):
    """Write the configuration to `log_dir` when a call begins; `save_config` may write it elsewhere besides.

    Raises ConfigurationError where there is one already and `overwrite` is False.
    """

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = False,
        multifile: bool = False,
        save_to_log_dir: bool = True,
    ) -> None:
        self.parser, self.config, self.config_filename = parser, config, config_filename
        self.overwrite, self.multifile, self.save_to_log_dir = overwrite, multifile, save_to_log_dir
        self.already_saved = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # type: ignore[override]
        if self.already_saved or trainer.fast_dev_run:
            return
        if self.save_to_log_dir:
            folder = Path(trainer.strategy.broadcast(trainer.log_dir))
            target = folder / self.config_filename
            if not self.overwrite and trainer.strategy.broadcast(target.exists()):
                raise ConfigurationError(
                    asked=f"the configuration is to be saved as {target}",
                    found="there is one of a run before",
                    do='Delete it, or give LightningCLI save_config_kwargs={"overwrite": True}.',
                )
            if trainer.is_global_zero:
                folder.mkdir(parents=True, exist_ok=True)
                self.parser.save(
                    self.config, str(target), skip_none=False, overwrite=self.overwrite, multifile=self.multifile
                )
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, stage)
        self.already_saved = True

    def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Write it elsewhere; called on the first rank."""
