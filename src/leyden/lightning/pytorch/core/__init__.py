"""What the user writes: LightningModule, LightningDataModule, and the words of their optimizers and hyperparameters."""

from leyden.lightning.pytorch.core.datamodule import LightningDataModule as LightningDataModule
from leyden.lightning.pytorch.core.module import LightningModule as LightningModule
from leyden.train.hooks import Hooks as ModelHooks  # noqa: F401  Lightning's name for it
from leyden.train.hooks import TransferHooks as DataHooks  # noqa: F401
from leyden.train.hparams import KeepsHyperParameters as HyperparametersMixin  # noqa: F401
from leyden.train.stepper import ManualOptimizer as LightningOptimizer  # noqa: F401

__all__ = ["LightningDataModule", "LightningModule"]
