"""What can be asked of a Trainer? Where training stands, what it has measured, and where its record lies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden import track
from leyden.track.run import Run
from leyden.train.callbacks.early_stopping import EarlyStopping
from leyden.train.callbacks.model_checkpoint import ModelCheckpoint
from leyden.train.checkpoints.saver import Saver
from leyden.train.optimizers import Optimization, Schedule
from leyden.train.plan import Plan
from leyden.train.progress import Progress, Silent

if TYPE_CHECKING:
    from leyden.train.callbacks.base import Callback
    from leyden.train.evaluate import Evaluation
    from leyden.train.fitting import Fit
    from leyden.train.loggers.base import Logger
    from leyden.train.module import DataModule, Module
    from leyden.train.stage import Stage


class TrainerState:
    """The half of a Trainer that is read: by Modules, callbacks and users. The other half is the loop."""

    callbacks: list[Callback]
    loggers: list[Logger]
    default_root_dir: Path

    def __init__(self) -> None:
        self.current_epoch = self.global_step = 0
        self.should_stop = self.sanity_checking = self.validated = False
        self.eval_metrics: dict[str, float] = {}
        self.estimated_stepping_batches = math.inf
        self.stage: str | None = None
        """The call that runs: "fit", "validate", "test" or "predict"; None between calls."""
        self.progress: Progress = Silent(talks=True)
        self.run: Run | None = None
        self.datamodule: DataModule | None = None
        self.model: Module | None = None
        self._plan: Plan | None = None
        self._stage: Stage | None = None
        self._fit: Fit | None = None
        self._evaluation: Evaluation | None = None
        self._saver = Saver()

    @property
    def plan(self) -> Plan:
        """Every choice of the running or last call; raises RuntimeError before the first."""
        if self._plan is None:
            raise RuntimeError("the plan is made by fit, validate, test or predict")
        return self._plan

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.global_rank == 0

    @property
    def global_rank(self) -> int:
        """This rank among all."""
        return 0 if self._plan is None else self._plan.world.rank

    @property
    def local_rank(self) -> int:
        """This rank among those of its node."""
        return 0 if self._plan is None else self._plan.world.local_rank

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        return 1 if self._plan is None else self._plan.world.size

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers of the running or last fit; empty before."""
        return list(self._optimization.optimizers)

    @property
    def schedules(self) -> list[Schedule]:
        """The learning-rate schedules of the running or last fit; empty before."""
        return list(self._optimization.schedules)

    @property
    def train_dataloader(self) -> Any:
        """The training loader of the running or last fit, as this rank sees it; None before."""
        return self._fit.feed.loader if self._fit else None

    @property
    def val_dataloaders(self) -> list[Any]:
        """The validation loaders of the running or last fit, as this rank sees them."""
        return list(self._fit.validation.loaders) if self._fit and self._fit.validation else []

    @property
    def num_training_batches(self) -> float:
        """Batches of an epoch on this rank; infinite where nobody knows, 0 before fit."""
        if self._fit is None:
            return 0
        return math.inf if self._fit.feed.batches is None else self._fit.feed.batches

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch that is being trained on is the last of its epoch, as far as its length is known."""
        return self._fit is not None and self._fit.book.index + 1 == self._fit.feed.batches

    @property
    def logger(self) -> Logger | None:
        """The first of the loggers given, beside Leyden's own record."""
        return self.loggers[0] if self.loggers else None

    @property
    def checkpoint_dir(self) -> Path:
        """Where this run's checkpoints lie."""
        return (self.run or track.current()).checkpoints

    @property
    def log_dir(self) -> Path:
        """The folder of this run's record."""
        return (self.run or track.current()).path

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        """The first ModelCheckpoint, if there is one."""
        return next((one for one in self.callbacks if isinstance(one, ModelCheckpoint)), None)

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        """The first EarlyStopping, if there is one."""
        return next((one for one in self.callbacks if isinstance(one, EarlyStopping)), None)

    @property
    def metrics(self) -> dict[str, float]:
        """The last value of every metric, epoch means included."""
        return {**(self._fit.book.latest() if self._fit else {}), **self.eval_metrics}

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """`metrics` as tensors, as Lightning has them."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self.metrics.items()}

    def say(self, text: str) -> None:
        """A line for the user, once, beside the progress bar."""
        if self.is_global_zero:
            self.progress.say(text)

    def print(self, *values: object) -> None:
        """`say`, with the arguments of `print`."""
        self.say(" ".join(str(value) for value in values))

    def wait_for_checkpoints(self) -> None:
        """Until every checkpoint asked for is whole, or has failed."""
        self._saver.wait()

    @property
    def _optimization(self) -> Optimization:
        return self._fit.stepper.optimization if self._fit else Optimization(optimizers=())
