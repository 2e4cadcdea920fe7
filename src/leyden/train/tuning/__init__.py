"""Which learning rate and which batch size suit a module? Tried out before training, leaving nothing behind."""

from leyden.train.tuning.rates import LRSweep as LRSweep
from leyden.train.tuning.tuner import Tuner as Tuner
