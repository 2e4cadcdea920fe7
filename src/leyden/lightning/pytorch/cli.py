"""How is a Trainer, a module and its data run from a command line and config files? By jsonargparse."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import partial
from types import MethodType
from typing import Any

from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.lightning.pytorch.arguments import (
    ActionConfigFile,
    ArgumentParser,
    LightningArgumentParser,
    LRSchedulerTypeTuple,
    Namespace,
    ReduceLROnPlateau,
    SaveConfigCallback,
)
from leyden.lightning.pytorch.callbacks import Callback
from leyden.lightning.pytorch.core.datamodule import LightningDataModule
from leyden.lightning.pytorch.core.module import LightningModule
from leyden.lightning.pytorch.trainer.trainer import Trainer
from leyden.lightning.pytorch.utilities.seed import seed_everything
from leyden.train.module import overrides

__all__ = [
    "LRSchedulerTypeTuple",
    "LightningArgumentParser",
    "LightningCLI",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
    "instantiate_class",
    "instantiate_module",
]


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
