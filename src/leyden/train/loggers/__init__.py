"""Where else may a run be recorded? Beside Leyden's own record: CSV, TensorBoard, Weights & Biases, MLflow.

The names are loaded on first use, and the packages behind them on the first row.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "CSVLogger": "leyden.train.loggers.csv_logs",
    "Logger": "leyden.train.loggers.base",
    "MLFlowLogger": "leyden.train.loggers.mlflow",
    "TensorBoardLogger": "leyden.train.loggers.tensorboard",
    "WandbLogger": "leyden.train.loggers.wandb",
    "fan_out": "leyden.train.loggers.base",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.train.loggers.base import Logger as Logger
    from leyden.train.loggers.base import fan_out as fan_out
    from leyden.train.loggers.csv_logs import CSVLogger as CSVLogger
    from leyden.train.loggers.mlflow import MLFlowLogger as MLFlowLogger
    from leyden.train.loggers.tensorboard import TensorBoardLogger as TensorBoardLogger
    from leyden.train.loggers.wandb import WandbLogger as WandbLogger


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.train.loggers' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
