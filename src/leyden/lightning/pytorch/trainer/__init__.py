"""The Trainer, and the words for what it is doing."""

from leyden.lightning.pytorch.trainer.states import RunningStage as RunningStage
from leyden.lightning.pytorch.trainer.states import TrainerFn as TrainerFn
from leyden.lightning.pytorch.trainer.states import TrainerState as TrainerState
from leyden.lightning.pytorch.trainer.states import TrainerStatus as TrainerStatus
from leyden.lightning.pytorch.trainer.trainer import Trainer as Trainer
from leyden.lightning.pytorch.utilities.seed import seed_everything as seed_everything

__all__ = ["Trainer", "seed_everything"]
