"""Prints, as JSON, the public names of a package and their arguments: `names.py lightning` or `… leyden.lightning`."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import sys
import warnings
from typing import Any

MODULES = {
    "": None,
    ".pytorch": None,
    ".pytorch.accelerators": None,
    ".pytorch.callbacks": None,
    ".pytorch.core": None,
    ".pytorch.loggers": None,
    ".pytorch.plugins": None,
    ".pytorch.plugins.io": None,
    ".pytorch.plugins.precision": None,
    ".pytorch.profilers": None,
    ".pytorch.strategies": None,
    ".pytorch.trainer": None,
    ".pytorch.utilities": None,
    ".pytorch.callbacks.progress": "ProgressBar RichProgressBar TQDMProgressBar",
    ".pytorch.callbacks.early_stopping": "EarlyStopping EarlyStoppingReason",
    ".pytorch.callbacks.progress.rich_progress": "RichProgressBar RichProgressBarTheme",
    ".pytorch.cli": "LightningArgumentParser LightningCLI ReduceLROnPlateau SaveConfigCallback instantiate_class",
    ".pytorch.core.optimizer": "LightningOptimizer",
    ".pytorch.core.saving": "load_hparams_from_yaml save_hparams_to_yaml",
    ".pytorch.loggers.logger": "DummyLogger Logger rank_zero_experiment",
    ".pytorch.loggers.tensorboard": "TensorBoardLogger",
    ".pytorch.loggers.csv_logs": "CSVLogger ExperimentWriter",
    ".pytorch.plugins.environments": "LightningEnvironment SLURMEnvironment TorchElasticEnvironment MPIEnvironment",
    ".pytorch.trainer.states": "RunningStage TrainerFn TrainerState TrainerStatus",
    ".pytorch.tuner": "Tuner",
    ".pytorch.tuner.tuning": "Tuner",
    ".pytorch.utilities.combined_loader": "CombinedLoader",
    ".pytorch.utilities.exceptions": "MisconfigurationException SIGTERMException",
    ".pytorch.utilities.grads": "grad_norm",
    ".pytorch.utilities.memory": "garbage_collection_cuda is_oom_error recursive_detach",
    ".pytorch.utilities.model_helpers": "is_overridden",
    ".pytorch.utilities.model_summary": "ModelSummary summarize",
    ".pytorch.utilities.parsing": "AttributeDict lightning_getattr lightning_hasattr lightning_setattr",
    ".pytorch.utilities.rank_zero": "rank_zero_only rank_zero_info rank_zero_warn rank_prefixed_message",
    ".pytorch.utilities.seed": "isolate_rng",
    ".pytorch.utilities.types": "EVAL_DATALOADERS STEP_OUTPUT TRAIN_DATALOADERS OptimizerLRScheduler LRSchedulerConfig",
    ".pytorch.utilities.warnings": "PossibleUserWarning",
    ".fabric.utilities.seed": "seed_everything pl_worker_init_function",
    ".fabric.utilities.rank_zero": "rank_zero_only rank_zero_info rank_zero_warn",
    ".fabric.utilities.types": "LRScheduler",
    ".fabric.utilities.exceptions": "MisconfigurationException",
    ".fabric.plugins.environments": "SLURMEnvironment LightningEnvironment TorchElasticEnvironment",
}
WHOLE = ("Trainer", "LightningModule", "LightningDataModule", "Callback")


def signature(value: Any) -> list[str] | None:
    """The names of the arguments; None for what takes none, or shows none."""
    try:
        return [name for name in inspect.signature(value).parameters if name != "self"]
    except (TypeError, ValueError):
        return None


def members(kind: type) -> dict[str, Any]:
    """The public methods of a class with their arguments, and its other attributes."""
    found: dict[str, Any] = {}
    for name in dir(kind):
        if not name.startswith("_"):
            value = inspect.getattr_static(kind, name)
            callable_one = not isinstance(value, property) and callable(getattr(kind, name))
            found[name] = signature(getattr(kind, name)) if callable_one else None
    return found


def main(package: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found: dict[str, Any] = {}
    for path, names in MODULES.items():
        try:
            module = importlib.import_module(package + path)
        except ImportError as error:
            found[path] = str(error)
            continue
        wanted = names.split() if names else [one for one in module.__all__ if one != "__version__"]
        there = {one: getattr(module, one, None) for one in wanted}
        found[path] = {
            one: signature(value.__init__) if inspect.isclass(value) else None
            for one, value in there.items()
            if hasattr(module, one)
        }
    pytorch = importlib.import_module(package + ".pytorch")
    found["members"] = {one: members(getattr(pytorch, one)) for one in WHOLE}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
