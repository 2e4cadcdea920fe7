"""Does the mean of the last epochs' weights, taken at a high constant learning rate, generalize better?"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from leyden.core.errors import ConfigurationError, nearest
from leyden.train import rng
from leyden.train.callbacks.weight_averaging import WeightAveraging
from leyden.train.logs.logbook import LogBook

if TYPE_CHECKING:
    from leyden.train.fitting import Fit
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

_SHAPES = ("cos", "linear")


class StochasticWeightAveraging(WeightAveraging):
    """From an epoch on, lead the learning rate to `swa_lrs` and average the weights after every epoch.

    `swa_lrs`: one rate, or one for each parameter group. `swa_epoch_start`: an epoch, or a share of `max_epochs`.
    The rates move from where they stand to `swa_lrs` in `annealing_epochs` epochs, along a "cos" or "linear" curve;
    from then on the Module's own schedules are overruled. Validation sees the weights as trained. After the last epoch
    the module holds the averages, the statistics of batch normalization are computed anew in one pass over the
    training data, without gradients, and the last checkpoint is written with both.
    Raises ConfigurationError for settings that cannot be, and for manual optimization.
    Source: Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", algorithm 1.
    """

    shows = False  # the averages have no statistics of batch normalization before the end

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: str = "cos",
        avg_fn: Any = None,
        device: torch.device | str | None = "cpu",
    ) -> None:
        super().__init__(device, avg_fn=avg_fn)
        share = isinstance(swa_epoch_start, float)
        if not (0 <= swa_epoch_start <= 1 if share else swa_epoch_start >= 1):
            raise ConfigurationError(
                asked=f"swa_epoch_start={swa_epoch_start}",
                found="it is no epoch from 1 on and no share between 0.0 and 1.0",
                do="Use swa_epoch_start=0.8 for the last fifth of training.",
            )
        if not all(lr > 0 for lr in (swa_lrs if isinstance(swa_lrs, list) else [swa_lrs])):
            raise ConfigurationError(asked=f"swa_lrs={swa_lrs}", found="rates are above 0", do="Use e.g. swa_lrs=0.05.")
        if annealing_strategy not in _SHAPES:
            raise ConfigurationError(
                asked=f"annealing_strategy={annealing_strategy!r}",
                found="it is unknown",
                do=nearest(annealing_strategy, _SHAPES),
            )
        self._swa_lrs, self._epoch_start = swa_lrs, swa_epoch_start
        self._annealing_epochs, self._annealing_strategy = annealing_epochs, annealing_strategy
        self._first = 0
        self._before: list[float] = []  # the rates when averaging began
        self._now: list[float] = []

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return epoch_idx is not None and epoch_idx >= self._first

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        return {**state, "rates": list(self._before)} if state else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._before = list(state_dict["rates"])

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            start, epochs = self._epoch_start, trainer.choices.max_epochs
            if isinstance(start, float) and epochs < 1:
                raise ConfigurationError(
                    asked=f"swa_epoch_start={start} of max_epochs",
                    found="max_epochs is not bounded",
                    do="Set max_epochs, or give swa_epoch_start as an epoch.",
                )
            self._first = int(start * epochs) if isinstance(start, float) else start
            self._before = []

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        if not pl_module.automatic_optimization:
            raise ConfigurationError(
                asked="StochasticWeightAveraging",
                found="the module optimizes by hand, so its learning rates and statistics are its own affair",
                do="Use WeightAveraging or EMAWeightAveraging.",
            )
        groups = len(pl_module._running().optimization.optimizers[0].param_groups)
        if isinstance(self._swa_lrs, list) and len(self._swa_lrs) != groups:
            raise ConfigurationError(
                asked=f"swa_lrs={self._swa_lrs}", found=f"{groups} parameter groups", do="Give one rate for each."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        past = trainer.current_epoch - self._first
        if past < 0:
            return
        groups = pl_module._running().optimization.optimizers[0].param_groups
        self._before = self._before or [float(group["lr"]) for group in groups]
        share = self._share(past)
        goals = self._swa_lrs if isinstance(self._swa_lrs, list) else [self._swa_lrs] * len(groups)
        self._now = [share * goal + (1 - share) * lr for goal, lr in zip(goals, self._before, strict=True)]

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch >= self._first:  # again at every batch: the module's schedules go on moving
            groups = pl_module._running().optimization.optimizers[0].param_groups
            for group, lr in zip(groups, self._now, strict=True):
                group["lr"] = lr

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        super().on_train_end(trainer, pl_module)
        if self.averages is None or self.averages.count == 0 or trainer._fit is None:
            return
        _compute_statistics(trainer._fit, trainer.current_epoch)
        if (saves := trainer.checkpoint_callback) is not None:
            name = f"epoch={trainer.current_epoch}-step={trainer.global_step}-swa"
            trainer.save_checkpoint((saves.dirpath or trainer.checkpoint_dir) / name)

    def _share(self, past: int) -> float:
        """How far, from 0 to 1, the rates have moved so many epochs after averaging began."""
        share = min(1.0, past / self._annealing_epochs) if self._annealing_epochs else 1.0
        return (1 - math.cos(math.pi * share)) / 2 if self._annealing_strategy == "cos" else share


@torch.no_grad()
def _compute_statistics(fit: Fit, epoch: int) -> None:
    """Mean and variance of every batch normalization over one pass through the training data; nothing else moves.

    Random numbers and the loader stand afterwards where they stood, so that a checkpoint of this moment resumes.
    """
    module, plan = fit.module, fit.plan
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    if not norms:
        return
    place, numbers, momenta = fit.feed.state_dict(), rng.capture(), [one.momentum for one in norms]
    for one in norms:
        one.reset_running_stats()
        one.momentum = None  # a mean in which every batch counts equally
    modes = [(part, part.training) for part in module.modules()]
    module.train()
    book, module._book = module._book, LogBook(training=True, sink=None)
    feed = copy.copy(fit.feed)  # the copy remembers where this pass began, the feed where the last epoch did
    for index, batch in feed.epoch(epoch, None, 0):
        with fit.forward:
            module.training_step(*(batch, index)[: fit.arity])
    module._book = book
    for part, training in modes:
        part.training = training
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum
    feed._set_generators(place["generators"])
    if "loader" in place:
        feed.loader.load_state_dict(place["loader"])
    rng.restore(numbers)
    if plan.world.size > 1:  # ranks saw different samples; as in training, the first one's statistics hold
        for one in norms:
            for buffer in one.buffers():
                torch.distributed.broadcast(buffer, src=0)
