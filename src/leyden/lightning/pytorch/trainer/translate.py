"""What do Lightning's arguments of the Trainer mean in Leyden's words?"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leyden import train
from leyden.lightning.errors import MisconfigurationException, not_kept
from leyden.lightning.pytorch.accelerators import named
from leyden.lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, ProgressBar, TQDMProgressBar
from leyden.lightning.pytorch.loggers import CSVLogger, DummyLogger, Logger, TensorBoardLogger
from leyden.lightning.pytorch.plugins import CheckpointIO, ClusterEnvironment, LayerSync, Precision
from leyden.lightning.pytorch.profilers import choose as choose_profiler
from leyden.lightning.pytorch.strategies import Strategy, choose

_PRECISIONS = {
    **dict.fromkeys(("16", "16-mixed"), "16-mixed"),
    **dict.fromkeys(("bf16", "bf16-mixed"), "bf16-mixed"),
    **dict.fromkeys(("32", "32-true", "None"), "32-true"),
    **dict.fromkeys(("64", "64-true"), "64-true"),
}
_BARE = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "profiler")
_DROPPED = ("barebones", "plugins", "enable_autolog_hparams", "model_registry")


@dataclass(frozen=True, kw_only=True)
class Translated:
    """Arguments for Leyden's Trainer, and the objects that Lightning's users ask for again."""

    settings: dict[str, Any]
    strategy: Strategy
    precision_plugin: Precision


def translate(given: dict[str, Any]) -> Translated:
    """Leyden's arguments for Lightning's; raises ConfigurationError for what has no counterpart."""
    given = dict(given)
    if given["model_registry"] is not None:
        raise not_kept("Trainer(model_registry=…)", "Keep checkpoints with ModelCheckpoint(dirpath=…).")
    if given["barebones"]:
        _strip(given)
    plugins = _sort(given["plugins"])
    strategy = choose(given["strategy"])
    precision = plugins.precision or strategy.precision_plugin or Precision(_precision(given["precision"]))
    callbacks = _callbacks(given)
    bars = [one for one in callbacks if isinstance(one, ProgressBar)]
    root = Path(given["default_root_dir"] or ".").absolute()
    settings = {name: value for name, value in given.items() if name not in _DROPPED}
    settings |= {
        "accelerator": named(given["accelerator"] if strategy.accelerator is None else strategy.accelerator),
        "devices": _devices(given["devices"], given["accelerator"]),
        "strategy": strategy.leyden(),
        "precision": precision.precision,
        "logger": _loggers(given["logger"], root, given["fast_dev_run"]),
        "callbacks": callbacks,
        "min_epochs": given["min_epochs"] or 0,
        "min_steps": given["min_steps"] or 0,
        "val_check_interval": 1.0 if given["val_check_interval"] is None else given["val_check_interval"],
        "num_sanity_val_steps": 2 if given["num_sanity_val_steps"] is None else given["num_sanity_val_steps"],
        "log_every_n_steps": given["log_every_n_steps"] or 50,
        "gradient_clip_algorithm": str(given["gradient_clip_algorithm"] or "norm"),
        "enable_checkpointing": False,  # the callbacks have Lightning's already
        "enable_progress_bar": not any(one.is_disabled for one in bars) and bool(bars),
        "enable_model_summary": False,
        "deterministic": given["deterministic"] or False,
        "profiler": choose_profiler(given["profiler"]),
        "sync_batchnorm": given["sync_batchnorm"] or plugins.sync_batchnorm,
        "default_root_dir": root,
    }
    if isinstance(settings["val_check_interval"], int | float) is False:
        raise not_kept(
            f"Trainer(val_check_interval={given['val_check_interval']!r})",
            "Give a number of batches, or a share of an epoch; time bounds the whole training (max_time).",
        )
    known = inspect.signature(train.Trainer.__init__).parameters
    return Translated(
        settings={name: value for name, value in settings.items() if name in known},
        strategy=strategy,
        precision_plugin=precision,
    )


@dataclass
class _Plugins:
    precision: Precision | None = None
    sync_batchnorm: bool = False


def _sort(plugins: Any) -> _Plugins:
    """What the plugins ask for. A launcher's environment and how files are written are Leyden's own affair."""
    found = _Plugins()
    for one in plugins if isinstance(plugins, list | tuple) else [plugins] * (plugins is not None):
        if isinstance(one, Precision):
            found.precision = one
        elif isinstance(one, LayerSync):
            found.sync_batchnorm = True
        elif not isinstance(one, ClusterEnvironment | CheckpointIO):
            raise not_kept(
                f"Trainer(plugins={type(one).__name__})", "Use the Trainer's precision, strategy or callbacks."
            )
    return found


def _precision(given: Any) -> str:
    word = str(given)
    if word.startswith("transformer-engine"):
        raise not_kept(f"precision={word!r}", 'Use precision="bf16-mixed", with compile="blocks" in leyden.Trainer.')
    return _PRECISIONS.get(word, word)


def _devices(given: Any, accelerator: Any) -> Any:
    if isinstance(given, str) and "," in given:
        return [int(part) for part in given.split(",") if part.strip()]
    if isinstance(given, list) and str(accelerator) == "cpu":
        return len(given)
    return int(given) if isinstance(given, str) and given.lstrip("-").isdigit() else given


def _loggers(given: Any, root: Path, fast_dev_run: bool | int) -> list[Logger]:
    if given is False:
        return []
    if fast_dev_run:
        return [DummyLogger()]
    if given is None or given is True:
        kind = TensorBoardLogger if find_spec("tensorboard") else CSVLogger
        return [kind(root)]
    return list(given) if isinstance(given, Iterable) else [given]


def _callbacks(given: dict[str, Any]) -> list[train.Callback]:
    """The callbacks given, with those that arguments of the Trainer ask for."""
    callbacks = given["callbacks"]
    found = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] * (callbacks is not None)
    saves = any(isinstance(one, train.ModelCheckpoint) for one in found)
    bars = any(isinstance(one, ProgressBar) for one in found)
    for argument, there, what in (
        ("enable_checkpointing", saves, "ModelCheckpoint"),
        ("enable_progress_bar", bars, "ProgressBar"),
    ):
        if given[argument] is False and there:
            raise MisconfigurationException(
                asked=f"Trainer({argument}=False)", found=f"callbacks hold a {what}", do="Leave out one of the two."
            )
    if given["enable_progress_bar"] is not False and not bars:
        found.append(TQDMProgressBar())
    if given["enable_model_summary"] is not False and not any(isinstance(one, ModelSummary) for one in found):
        found.append(ModelSummary())
    if given["enable_checkpointing"] is not False and not saves:
        found.append(ModelCheckpoint())
    return found


def _strip(given: dict[str, Any]) -> None:
    for name in _BARE:
        if given[name]:
            raise MisconfigurationException(
                asked=f"Trainer(barebones=True, {name}={given[name]!r})",
                found="barebones is without",
                do="Leave it out.",
            )
        given[name] = False
    given.update(profiler=None, num_sanity_val_steps=0)
