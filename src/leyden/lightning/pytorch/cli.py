"""How is a Trainer, a module and its data run from a command line and config files? By jsonargparse."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from leyden.core.errors import ConfigurationError
from leyden.lightning.pytorch.callbacks import Callback
from leyden.lightning.pytorch.core.datamodule import LightningDataModule
from leyden.lightning.pytorch.core.module import LightningModule
from leyden.lightning.pytorch.trainer.trainer import Trainer
from leyden.lightning.pytorch.utilities.seed import seed_everything
from leyden.train.module import overrides

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


class LightningCLI:
    """A command line for a module and its data: `python train.py fit --config config.yaml --trainer.max_epochs 10`.

    `model_class`, `datamodule_class`: classes or functions that make one; without one, or with `subclass_mode_…`, the
    command line chooses the class. `run=False` only makes the objects, and has no subcommands.
    `args`: the command line as a list, a dict, or None for the process's own.
    `load_from_checkpoint_support` is accepted: Leyden's checkpoints keep the module's hyperparameters as they are.
    """

    def __init__(
        self,
        model_class: Any = None,
        datamodule_class: Any = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: dict[str, Any] | None = None,
        trainer_class: type[Trainer] | Callable[..., Trainer] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: dict[str, Any] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: Any = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
        load_from_checkpoint_support: bool = True,
    ) -> None:
        self.save_config_callback, self.save_config_kwargs = save_config_callback, save_config_kwargs or {}
        self.trainer_class, self.trainer_defaults = trainer_class, trainer_defaults or {}
        self.seed_everything_default, self.parser_kwargs = seed_everything_default, parser_kwargs or {}
        self.parser_class, self.auto_configure_optimizers = parser_class, auto_configure_optimizers
        self.model_class, self.subclass_mode_model = (
            model_class or LightningModule,
            subclass_mode_model or not model_class,
        )
        self.datamodule_class = datamodule_class or LightningDataModule
        self.subclass_mode_data = subclass_mode_data or not datamodule_class
        self._data_required = datamodule_class is not None
        self.subcommand: str | None = None
        self._subparsers: dict[str, LightningArgumentParser] = {}
        self.setup_parser(run)
        self.parse_arguments(self.parser, args)
        if run:
            self.subcommand = self.config["subcommand"]
        self._set_seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            self._run_subcommand(self.subcommand)

    # Parsers --------------------------------------------------------------------------------------------------------

    def setup_parser(self, add_subcommands: bool, *args: Any, **kwargs: Any) -> None:
        """Make the parser, and one for each subcommand."""
        options = self.parser_kwargs
        if add_subcommands and any(name in options for name in self.subcommands()):
            own = {name: options[name] for name in self.subcommands() if name in options}
            main = {name: value for name, value in options.items() if name not in own}
        else:
            main, own = options, dict.fromkeys(self.subcommands(), options)
        self.parser = self.init_parser(**main)
        if not add_subcommands:
            self._add_arguments(self.parser)
            return
        commands = self.parser.add_subcommands(required=True)
        for name, skip in self.subcommands().items():
            parser = self._subparsers[name] = self._prepare_subcommand_parser(name, skip, **own.get(name, {}))
            text = (getattr(self.trainer_class, name).__doc__ or "").splitlines()
            commands.add_subcommand(name, parser, help=text[0] if text else name)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """An empty parser that knows --config."""
        kwargs.setdefault("env_prefix", "PL")
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c", "--config", action=ActionConfigFile, help="A config file; may be given several times."
        )
        return parser

    def _prepare_subcommand_parser(self, name: str, skip: set[str], **kwargs: Any) -> LightningArgumentParser:
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        parser.add_method_arguments(self.trainer_class, name, skip=set(skip))
        return parser

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            if not parser._optimizers:
                parser.add_optimizer_args((Optimizer,))
            if not parser._lr_schedulers:
                parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        for key, (_, link_to) in {**parser._optimizers, **parser._lr_schedulers}.items():
            if link_to != "AUTOMATIC":
                parser.link_arguments(key, link_to, compute_fn=partial(_make_later, _kinds(parser, key)))

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """--seed_everything."""
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="A seed; true for one that is the same for all ranks, false for none.",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """--trainer, --model and --data."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        defaults = {f"trainer.{name}": value for name, value in self.trainer_defaults.items() if name != "callbacks"}
        parser.set_defaults(defaults)
        parser.add_lightning_class_args(self.model_class, "model", subclass_mode=self.subclass_mode_model)
        if self._data_required or self.subclass_mode_data:
            parser.add_lightning_class_args(
                self.datamodule_class, "data", subclass_mode=self.subclass_mode_data, required=self._data_required
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Override it to add arguments, links between them, and defaults."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, with those arguments of the Trainer's methods that are made by other means."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line, files and environment into `self.config`."""
        if isinstance(args, dict | Namespace):
            self.config = parser.parse_object(args)
        else:
            self.config = parser.parse_args(args)

    # Objects --------------------------------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        """Override it to look at `self.config` before anything is made of it."""

    def after_instantiate_classes(self) -> None:
        """Override it to look at the objects before anything runs."""

    def instantiate_classes(self) -> None:
        """Make model, data and Trainer."""
        parser, config = self._parser(self.subcommand), self._get(self.config)
        self.config_init = parser.instantiate_classes(self.config if self.subcommand is None else config)
        self.model: Any = self.config_init["model"]
        self.datamodule: Any = self.config_init.get("data")
        self._add_optimizers()
        self.trainer: Trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer of the configuration; `kwargs` go over it."""
        parser = self._parser(self.subcommand)
        extra = [self.config_init[key] for key in parser.callback_keys]
        config = {**self.config_init["trainer"], **kwargs}
        return self._instantiate_trainer(config, extra)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = config.get("callbacks")
        found = [given] if isinstance(given, Callback) else list(given or [])
        default = self.trainer_defaults.get("callbacks", [])
        found += callbacks + (default if isinstance(default, list) else [default])
        if self.save_config_callback is not None and not config.get("fast_dev_run"):
            config_of = self.config if self.subcommand is None else self._get(self.config)
            found.append(self.save_config_callback(self._parser(self.subcommand), config_of, **self.save_config_kwargs))
        return self.trainer_class(**{**config, "callbacks": found})

    def _add_optimizers(self) -> None:
        """Give the module a `configure_optimizers` of what the command line chose."""
        parser, config = self._parser(self.subcommand), self._get(self.config)
        automatic = [
            [key for key, (_, link_to) in kinds.items() if link_to == "AUTOMATIC"]
            for kinds in (parser._optimizers, parser._lr_schedulers)
        ]
        for keys in automatic:
            if len(keys) > 1:
                raise ConfigurationError(
                    asked=f"the module is to be given {' and '.join(keys)}",
                    found="which is whose only the module can say",
                    do="Give link_to='model.…', and write configure_optimizers.",
                )
        chosen = [keys[0] if keys and config.get(keys[0]) else None for keys in automatic]
        if chosen[0] is None or (overrides(self.model, "configure_optimizers") and self._untouched(chosen[0])):
            return
        make_optimizer = _make_later(_kinds(parser, chosen[0]), config[chosen[0]])
        make_schedule = _make_later(_kinds(parser, chosen[1]), config[chosen[1]]) if chosen[1] else None

        def configure_optimizers(module: LightningModule) -> Any:
            optimizer = make_optimizer(module.parameters())
            return self.configure_optimizers(module, optimizer, make_schedule and make_schedule(optimizer))

        self.model.configure_optimizers = MethodType(configure_optimizers, self.model)

    def _untouched(self, key: str) -> bool:
        """Whether this part of the configuration is nothing but defaults of one class."""
        parser = self._parser(self.subcommand)
        return not isinstance(_kinds(parser, key), tuple) and self._get(self.config)[key] == parser.get_defaults().get(
            key
        )

    @staticmethod
    def configure_optimizers(lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: Any = None) -> Any:
        """What the module's `configure_optimizers` returns; override it for intervals other than epochs."""
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            schedule = {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor}
            return {"optimizer": optimizer, "lr_scheduler": schedule}
        return [optimizer], [lr_scheduler]

    # Running --------------------------------------------------------------------------------------------------------

    def _run_subcommand(self, subcommand: str) -> None:
        if (before := getattr(self, f"before_{subcommand}", None)) is not None:
            before()
        default: Callable[..., Any] = getattr(self.trainer, subcommand)
        known = {name: self.config_init.get(name) for name in self._subcommand_arguments(subcommand)}
        data = {} if self.datamodule is None else {"datamodule": self.datamodule}
        own = getattr(self, subcommand, None)  # a subclass may define what `fit` does
        (own or default)(model=self.model, **data, **known)
        if (after := getattr(self, f"after_{subcommand}", None)) is not None:
            after()

    def _subcommand_arguments(self, subcommand: str) -> Iterable[str]:
        import inspect

        parameters = inspect.signature(getattr(self.trainer, subcommand)).parameters
        return [name for name in parameters if name not in self.subcommands()[subcommand]]

    def _parser(self, subcommand: str | None) -> LightningArgumentParser:
        return self.parser if subcommand is None else self._subparsers[subcommand]

    def _get(self, config: Namespace) -> Any:
        return config if self.subcommand is None else config[self.subcommand]

    def _set_seed(self) -> None:
        config = self._get(self.config)
        seed = config.get("seed_everything", False)
        if seed is False:
            return
        config["seed_everything"] = seed_everything(None if seed is True else int(seed), workers=True)


def instantiate_class(args: Any, init: dict[str, Any]) -> Any:
    """An object of `{"class_path": …, "init_args": {…}}`, with positional arguments before."""
    home, _, name = init["class_path"].rpartition(".")
    kind = getattr(importlib.import_module(home), name)
    return kind(*(args if isinstance(args, tuple) else (args,)), **init.get("init_args", {}))


def instantiate_module(module_class: Any, config: dict[str, Any]) -> Any:
    """A module of its arguments, nested classes made too."""
    parser = ArgumentParser(exit_on_error=False)
    if "_class_path" in config:
        parser.add_subclass_arguments(module_class, "module", fail_untyped=False)
        given = {"class_path": config["_class_path"], "init_args": {k: v for k, v in config.items() if k[0] != "_"}}
        return parser.instantiate_classes(parser.parse_object({"module": given}))["module"]
    parser.add_class_arguments(module_class, "module", fail_untyped=False)
    return parser.instantiate_classes(parser.parse_object({"module": config}))["module"]


def _kinds(parser: LightningArgumentParser, key: str) -> Any:
    return {**parser._optimizers, **parser._lr_schedulers}[key][0]


def _make_later(kinds: Any, config: Any) -> Callable[..., Any]:
    """What makes an object of a part of the configuration once its first argument is there."""
    if isinstance(kinds, tuple):
        plain = config.as_dict() if isinstance(config, Namespace) else dict(config)
        return lambda first: instantiate_class(first, plain)
    plain = config.as_dict() if isinstance(config, Namespace) else dict(config)
    return lambda first: kinds(first, **plain)
