"""The names of `lightning.pytorch`, loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leyden.lightning.lazy import lazy

_HOMES = {
    "Trainer": "leyden.lightning.pytorch.trainer.trainer",
    "LightningDataModule": "leyden.lightning.pytorch.core.datamodule",
    "LightningModule": "leyden.lightning.pytorch.core.module",
    "Callback": "leyden.lightning.pytorch.callbacks",
    "seed_everything": "leyden.lightning.pytorch.utilities.seed",
    "disable_possible_user_warnings": "leyden.lightning.pytorch.utilities",
    "__version__": "leyden.lightning",
}
_PACKAGES = [
    *("accelerators", "callbacks", "cli", "core", "loggers", "plugins", "profilers"),
    *("strategies", "trainer", "tuner", "utilities"),
]

__all__ = ["Callback", "LightningDataModule", "LightningModule", "Trainer", "seed_everything"]

if TYPE_CHECKING:
    from leyden.lightning.pytorch.callbacks import Callback as Callback
    from leyden.lightning.pytorch.core.datamodule import LightningDataModule as LightningDataModule
    from leyden.lightning.pytorch.core.module import LightningModule as LightningModule
    from leyden.lightning.pytorch.trainer.trainer import Trainer as Trainer
    from leyden.lightning.pytorch.utilities.seed import seed_everything as seed_everything

__getattr__, __dir__ = lazy(__name__, _HOMES, _PACKAGES)
