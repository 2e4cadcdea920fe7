"""What can be asked of a Trainer under Lightning's names?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden import train
from leyden.lightning.pytorch.accelerators import Accelerator, accelerator_of
from leyden.lightning.pytorch.callbacks import BasePredictionWriter, ProgressBar
from leyden.lightning.pytorch.plugins import Precision
from leyden.lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from leyden.lightning.pytorch.trainer.states import RunningStage, TrainerFn, TrainerState, TrainerStatus
from leyden.train import state
from leyden.train.optimizers import Schedule
from leyden.train.plan import choose_device, count_devices
from leyden.train.ranks.world import World

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.translate import Translated
    from leyden.train.evaluate import Evaluation

_STAGES = {
    "fit": RunningStage.TRAINING,
    "validate": RunningStage.VALIDATING,
    "test": RunningStage.TESTING,
    "predict": RunningStage.PREDICTING,
}


class Folder(str):
    """A path as text, as Lightning gives it, that knows `/`, as Leyden uses it."""

    def __truediv__(self, name: str) -> Path:
        return Path(self) / name


class Choice:
    """An argument of the Trainer that can be read, and set for the next call; `none` is what Leyden has for None."""

    def __init__(self, none: Any = None) -> None:
        self._none, self._name = none, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, trainer: Known | None, owner: type) -> Any:
        if trainer is None:
            return self
        value = getattr(trainer.choices, self._name)
        return None if value == self._none else value

    def __set__(self, trainer: Known, value: Any) -> None:
        trainer._choose(**{self._name: self._none if value is None else value})


class Limit:
    """A limit of batches that can be read, 1.0 for all, and set for the next call."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __get__(self, trainer: Known | None, owner: type) -> Any:
        if trainer is None:
            return self
        limit = trainer.limits[self._stage]
        return 1.0 if limit is None else limit

    def __set__(self, trainer: Known, limit: int | float | None) -> None:
        trainer.limits[self._stage] = limit


class FitLoop:
    """The bounds of training, where Lightning's users change them between two calls of `fit`."""

    def __init__(self, trainer: Known) -> None:
        self.__dict__["trainer"] = trainer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trainer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("max_epochs", "min_epochs", "max_steps", "min_steps"):
            raise AttributeError(f"fit_loop.{name} cannot be set; give it to the Trainer")
        self.trainer._choose(**{name: -1 if value is None else value})

    @property
    def epoch_loop(self) -> FitLoop:
        """The same bounds: Leyden has one loop."""
        return self


class Known(state.TrainerState):
    """The properties of Lightning's Trainer."""

    choices: Any
    limits: dict[str, Any]
    devices: Any

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """What loggers were given last."""
        return self._shown("logger")

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What the bar shows."""
        return {name: float(value) for name, value in self._shown("prog_bar").items()}

    def _begin_known(self, given: dict[str, Any], translated: Translated) -> None:
        self._strategy, self._precision_plugin = translated.strategy, translated.precision_plugin
        self._fn: TrainerFn | None = None
        self._status = TrainerStatus.INITIALIZING
        self._asked_path: str | Path | None = None
        self._batch_is_done = False
        self.barebones: bool = given["barebones"]
        self.fit_loop = FitLoop(self)
        self.default_root_dir = Folder(self.default_root_dir)  # type: ignore[assignment]
        self._strategy.trainer = self

    def _choose(self, **changes: Any) -> None:
        self.choices = replace(self.choices, **changes)

    # Where it runs --------------------------------------------------------------------------------------------------

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device, a word with Lightning's methods."""
        return accelerator_of(self.__dict__["accelerator"])

    @accelerator.setter
    def accelerator(self, word: str) -> None:
        self.__dict__["accelerator"] = word

    @property
    def strategy(self) -> Strategy:
        """How the module is spread; knows the device and the other ranks."""
        if type(self._strategy) is Strategy:
            kind = DDPStrategy if self.world_size > 1 else SingleDeviceStrategy
            self._strategy = kind()
            self._strategy.trainer = self
        return self._strategy

    @property
    def precision(self) -> str:
        """As "32-true", "bf16-mixed", …"""
        return str(self.choices.precision)

    @property
    def precision_plugin(self) -> Precision:
        """The precision as an object."""
        return self._precision_plugin

    @property
    def scaler(self) -> Any:
        """Of "16-mixed", during fit; else None."""
        return self._fit.stepper.scaler if self._fit else None

    @property
    def root_device(self) -> torch.device:
        """The device of this rank."""
        if self._plan is not None:
            return self._plan.device
        return choose_device(self.__dict__["accelerator"], World.from_environ() or World(), self.devices)

    @property
    def num_devices(self) -> int:
        """Ranks on this node."""
        return self._plan.world.local_size if self._plan else count_devices(self.devices, self.__dict__["accelerator"])

    @property
    def device_ids(self) -> list[int]:
        """The devices of this node by index."""
        return self.devices if isinstance(self.devices, list) else list(range(self.num_devices))

    @property
    def node_rank(self) -> int:
        """Which machine this is."""
        return self.global_rank // max(1, self.num_devices)

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int] | None:
        """What a sampler of one's own needs to split the data; None for one rank."""
        return {"num_replicas": self.world_size, "rank": self.global_rank} if self.world_size > 1 else None

    # What it is doing -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> TrainerState:
        """Status, call and stage, as they are now."""
        return TrainerState(status=self._status, fn=self._fn, stage=self._running_stage)

    @property
    def _running_stage(self) -> RunningStage | None:
        if self.stage is None:
            return None
        if self.sanity_checking:
            return RunningStage.SANITY_CHECKING
        validation, module = self._fit and self._fit.validation, self.lightning_module
        if self.stage == "fit" and validation and module is not None and module._book is validation.book:
            return RunningStage.VALIDATING
        return _STAGES[self.stage]

    @property
    def training(self) -> bool:
        """Whether weights change now."""
        return self._running_stage is RunningStage.TRAINING

    @property
    def validating(self) -> bool:
        """Whether a validation runs, in fit or alone."""
        return self._running_stage is RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """Whether a test runs."""
        return self._running_stage is RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """Whether a prediction runs."""
        return self._running_stage is RunningStage.PREDICTING

    @property
    def evaluating(self) -> bool:
        """Whether a validation, a test or the check before training runs."""
        return (now := self._running_stage) is not None and now.evaluating

    @property
    def is_last_batch(self) -> bool:
        """Whether the batch that is trained on, or has just been, is the last of its epoch, as far as that is known."""
        if self._fit is None or self._fit.feed.batches is None:
            return False
        return bool(self._fit.batch + (not self._batch_is_done) >= self._fit.feed.batches)

    @property
    def interrupted(self) -> bool:
        """Whether the last call ended with an error."""
        return self._status is TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether training is about to end because somebody asked the process to."""
        return False  # Leyden ends fit by itself then, after a checkpoint

    @property
    def ckpt_path(self) -> str | Path | None:
        """The checkpoint of the running or last call."""
        return self._asked_path

    @property
    def enable_validation(self) -> bool:
        """Whether fit validates."""
        return bool(self.limits["validate"] != 0)

    # Bounds ---------------------------------------------------------------------------------------------------------

    max_epochs = Choice()
    min_epochs = Choice(none=0)
    max_steps = Choice()
    min_steps = Choice(none=0)
    limit_train_batches = Limit("train")
    limit_val_batches = Limit("validate")
    limit_test_batches = Limit("test")
    limit_predict_batches = Limit("predict")
    overfit_batches = Choice()
    accumulate_grad_batches = Choice()
    gradient_clip_val = Choice()
    gradient_clip_algorithm = Choice()
    val_check_interval = Choice()
    check_val_every_n_epoch = Choice()
    num_sanity_val_steps = Choice()
    log_every_n_steps = Choice()
    reload_dataloaders_every_n_epochs = Choice()

    # What it has ----------------------------------------------------------------------------------------------------

    @property
    def lightning_module(self) -> Any:
        """The module of the running or last call."""
        return self.model

    @property
    def lr_scheduler_configs(self) -> list[Schedule]:
        """The learning-rate schedules, each with its interval, frequency and monitor."""
        return self.schedules

    @property
    def log_dir(self) -> str:  # type: ignore[override]
        """The folder of the first logger, else `default_root_dir`; that of the first rank on all. Collective."""
        folder: object = self.default_root_dir
        if self.is_global_zero and self.logger is not None:  # to ask is to claim the next version
            folder = self.logger.log_dir or getattr(self.logger, "save_dir", None) or folder
        return str(self.strategy.broadcast(str(folder)))

    @property
    def checkpoint_callbacks(self) -> list[train.ModelCheckpoint]:
        """All ModelCheckpoints."""
        return [one for one in self.callbacks if isinstance(one, train.ModelCheckpoint)]

    @property
    def early_stopping_callbacks(self) -> list[train.EarlyStopping]:
        """All EarlyStoppings."""
        return [one for one in self.callbacks if isinstance(one, train.EarlyStopping)]

    @property
    def progress_bar_callback(self) -> ProgressBar | None:
        """The ProgressBar, if there is one."""
        return next((one for one in self.callbacks if isinstance(one, ProgressBar)), None)

    @property
    def prediction_writer_callbacks(self) -> list[BasePredictionWriter]:
        """All writers of predictions."""
        return [one for one in self.callbacks if isinstance(one, BasePredictionWriter)]

    # Loaders and their sizes ------------------------------------------------------------------------------------------

    @property
    def train_dataloader(self) -> Any:
        """The training loader of the running or last fit; combined ones as they were given."""
        loader = super().train_dataloader
        return getattr(loader, "iterables", loader)

    @property
    def val_dataloaders(self) -> Any:
        """The validation loader, or a list of several."""
        return self._as_given("validate")

    @property
    def test_dataloaders(self) -> Any:
        """The test loader, or a list of several."""
        return self._as_given("test")

    @property
    def predict_dataloaders(self) -> Any:
        """The loader of predictions, or a list of several."""
        return self._as_given("predict")

    @property
    def num_val_batches(self) -> list[int | float]:
        """Batches of each validation loader; infinite where nobody knows."""
        return self._batches("validate")

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches of each validation loader that are tried before training."""
        most = self.choices.num_sanity_val_steps
        return [size if most == -1 else min(size, most) for size in self._batches("validate")]

    @property
    def num_test_batches(self) -> list[int | float]:
        """Batches of each test loader; infinite where nobody knows."""
        return self._batches("test")

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Batches of each loader of predictions; infinite where nobody knows."""
        return self._batches("predict")

    def _shown(self, wish: str) -> dict[str, Tensor]:
        """The newest values of metrics logged with this wish; those logged both ways as `_step` and `_epoch`."""
        books = [self._fit.book] if self._fit else []
        books += [one.book for one in (self._fit and self._fit.validation, self._evaluation) if one]
        found: dict[str, float] = {}
        for book in books:
            book.flush()
            for slot in book._slots.values():
                if getattr(slot.settings, wish):
                    both = slot.settings.on_step and slot.settings.on_epoch
                    values = {"_step": slot.last_step, "_epoch": slot.last_epoch} if both else {"": slot.last}
                    found |= {slot.name + end: one for end, one in values.items() if one is not None}
        return {name: torch.tensor(value) for name, value in found.items()}

    def _evaluation_of(self, stage: str) -> Evaluation | None:
        if self._evaluation is not None and self._evaluation._stage == stage:
            return self._evaluation
        return self._fit.validation if stage == "validate" and self._fit else None

    def _as_given(self, stage: str) -> Any:
        evaluation = self._evaluation_of(stage)
        if evaluation is None:
            return None
        return evaluation.loaders[0] if len(evaluation.loaders) == 1 else evaluation.loaders

    def _batches(self, stage: str) -> list[int | float]:
        evaluation = self._evaluation_of(stage)
        return [math.inf if one is None else one for one in evaluation.totals] if evaluation else []
