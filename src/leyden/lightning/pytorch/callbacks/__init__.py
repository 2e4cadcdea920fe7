"""Lightning's callbacks: Leyden's where they are the same, thin ones over them where names or rules differ."""

from __future__ import annotations

from leyden.lightning.pytorch.callbacks.bars import ProgressBar as ProgressBar
from leyden.lightning.pytorch.callbacks.bars import RichProgressBar as RichProgressBar
from leyden.lightning.pytorch.callbacks.bars import RichProgressBarTheme as RichProgressBarTheme
from leyden.lightning.pytorch.callbacks.bars import TQDMProgressBar as TQDMProgressBar
from leyden.lightning.pytorch.callbacks.early_stopping import EarlyStopping as EarlyStopping
from leyden.lightning.pytorch.callbacks.model_checkpoint import Checkpoint as Checkpoint
from leyden.lightning.pytorch.callbacks.model_checkpoint import ModelCheckpoint as ModelCheckpoint
from leyden.lightning.pytorch.callbacks.pruning import ModelPruning as ModelPruning
from leyden.lightning.pytorch.callbacks.small import BasePredictionWriter as BasePredictionWriter
from leyden.lightning.pytorch.callbacks.small import EMAWeightAveraging as EMAWeightAveraging
from leyden.lightning.pytorch.callbacks.small import LambdaCallback as LambdaCallback
from leyden.lightning.pytorch.callbacks.small import ModelSummary as ModelSummary
from leyden.lightning.pytorch.callbacks.small import OnExceptionCheckpoint as OnExceptionCheckpoint
from leyden.lightning.pytorch.callbacks.small import RichModelSummary as RichModelSummary
from leyden.lightning.pytorch.callbacks.small import ThroughputMonitor as ThroughputMonitor
from leyden.lightning.pytorch.callbacks.small import Timer as Timer
from leyden.lightning.pytorch.callbacks.small import WeightAveraging as WeightAveraging
from leyden.lightning.pytorch.callbacks.spike import SpikeDetection as SpikeDetection
from leyden.train.callbacks import BackboneFinetuning as BackboneFinetuning
from leyden.train.callbacks import BaseFinetuning as BaseFinetuning
from leyden.train.callbacks import BatchSizeFinder as BatchSizeFinder
from leyden.train.callbacks import Callback as Callback
from leyden.train.callbacks import DeviceStatsMonitor as DeviceStatsMonitor
from leyden.train.callbacks import GradientAccumulationScheduler as GradientAccumulationScheduler
from leyden.train.callbacks import LearningRateFinder as LearningRateFinder
from leyden.train.callbacks import LearningRateMonitor as LearningRateMonitor
from leyden.train.callbacks import StochasticWeightAveraging as StochasticWeightAveraging

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "Checkpoint",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelPruning",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "SpikeDetection",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "ThroughputMonitor",
    "Timer",
    "WeightAveraging",
]
