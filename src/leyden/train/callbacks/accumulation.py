"""How many micro-batches make a step, epoch by epoch?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer


class GradientAccumulationScheduler(Callback):
    """Change the micro-batches to a step at the beginning of epochs: `{0: 8, 4: 1}`; 1 before the first one named.

    `trainer.estimated_stepping_batches` and `scale_lr` follow. Raises ConfigurationError for other numbers, beside
    `accumulate_grad_batches`, and for manual optimization.
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not scheduling or min(scheduling) < 0 or min(scheduling.values()) < 1:
            raise ConfigurationError(
                asked=f"GradientAccumulationScheduler({dict(scheduling)})",
                found="it must map epochs from 0 on to numbers from 1 on",
                do="Use e.g. {0: 8, 4: 1}.",
            )
        self.scheduling = {0: 1, **scheduling}

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """The micro-batches to a step in this epoch."""
        return self.scheduling[max(one for one in self.scheduling if one <= epoch)]

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        given = trainer.plan.accumulate_grad_batches
        if stage == "fit" and (given != 1 or not pl_module.automatic_optimization):
            manual = "this Module optimizes by hand (automatic_optimization is False)"
            raise ConfigurationError(
                asked="GradientAccumulationScheduler",
                found=f"accumulate_grad_batches={given!r} says otherwise" if given != 1 else manual,
                do="Leave one of them out." if given != 1 else "Accumulate in training_step: step less often.",
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Module) -> None:
        if trainer._fit is not None:
            trainer._fit.micro_batches = self.get_accumulate_grad_batches(trainer.current_epoch)


def count_steps(session: Session, batches: int | None) -> float:
    """Optimizer steps of the whole training for epochs of so many batches, whose windows may change; or infinity."""
    plan = session.plan
    windows = next((one for one in session.callbacks if isinstance(one, GradientAccumulationScheduler)), None)
    if windows is None or batches is None or plan.max_epochs == -1:
        return plan.count_steps(batches)
    epochs = range(plan.max_epochs)
    steps = sum(math.ceil(batches / windows.get_accumulate_grad_batches(epoch)) for epoch in epochs)
    return steps if plan.max_steps == -1 else min(steps, plan.max_steps)
