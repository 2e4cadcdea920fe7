"""What can be added to training without touching the Module?"""

from leyden.train.callbacks.accumulation import GradientAccumulationScheduler as GradientAccumulationScheduler
from leyden.train.callbacks.base import Callback as Callback
from leyden.train.callbacks.device_stats import DeviceStatsMonitor as DeviceStatsMonitor
from leyden.train.callbacks.early_stopping import EarlyStopping as EarlyStopping
from leyden.train.callbacks.finders import BatchSizeFinder as BatchSizeFinder
from leyden.train.callbacks.finders import LearningRateFinder as LearningRateFinder
from leyden.train.callbacks.finetuning import BackboneFinetuning as BackboneFinetuning
from leyden.train.callbacks.finetuning import BaseFinetuning as BaseFinetuning
from leyden.train.callbacks.gradient_norm import GradientNormMonitor as GradientNormMonitor
from leyden.train.callbacks.loss_guard import LossGuard as LossGuard
from leyden.train.callbacks.lr_monitor import LearningRateMonitor as LearningRateMonitor
from leyden.train.callbacks.model_checkpoint import ModelCheckpoint as ModelCheckpoint
from leyden.train.callbacks.model_summary import ModelSummary as ModelSummary
from leyden.train.callbacks.small import BasePredictionWriter as BasePredictionWriter
from leyden.train.callbacks.small import LambdaCallback as LambdaCallback
from leyden.train.callbacks.small import OnExceptionCheckpoint as OnExceptionCheckpoint
from leyden.train.callbacks.stochastic_averaging import StochasticWeightAveraging as StochasticWeightAveraging
from leyden.train.callbacks.throughput import ThroughputMonitor as ThroughputMonitor
from leyden.train.callbacks.timer import Timer as Timer
from leyden.train.callbacks.weight_averaging import EMAWeightAveraging as EMAWeightAveraging
from leyden.train.callbacks.weight_averaging import WeightAveraging as WeightAveraging
