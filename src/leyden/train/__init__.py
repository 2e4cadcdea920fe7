"""Module, DataModule, Trainer and what they stand on. The first of Leyden's folders that needs torch."""

from leyden.core.errors import ConfigurationError

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as _error:
    raise ConfigurationError(
        asked="leyden.train was imported",
        found="PyTorch is not installed for this Python",
        do="Install it with: pip install 'leyden[train]'",
    ) from _error

from leyden.train.callbacks.base import Callback as Callback
from leyden.train.callbacks.early_stopping import EarlyStopping as EarlyStopping
from leyden.train.callbacks.model_checkpoint import ModelCheckpoint as ModelCheckpoint
from leyden.train.module import DataModule as DataModule
from leyden.train.module import Module as Module
from leyden.train.rng import seed_everything as seed_everything
from leyden.train.trainer import Trainer as Trainer
