"""When has training stopped getting better? Leyden's answer, looked for when Lightning looks."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leyden import train

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer


class EarlyStoppingReason(IntEnum):
    """Why training was stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


_WORDS = {
    "better than": EarlyStoppingReason.STOPPING_THRESHOLD,
    "worse than": EarlyStoppingReason.DIVERGENCE_THRESHOLD,
    "not improved": EarlyStoppingReason.PATIENCE_EXHAUSTED,
}


class EarlyStopping(train.EarlyStopping):
    """`leyden.train.EarlyStopping` at Lightning's moment: an epoch's end, where each epoch ends with one validation."""

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        super().__init__(
            monitor,
            min_delta,
            patience,
            verbose,
            mode,
            strict,
            check_finite,
            stopping_threshold,
            divergence_threshold,
            check_on_train_epoch_end,
        )
        self.log_rank_zero_only = log_rank_zero_only
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None

    @property  # type: ignore[override]
    def best_score(self) -> Tensor:
        """The best so far, a tensor as Lightning has it."""
        return self._best

    @best_score.setter
    def best_score(self, score: Any) -> None:
        self._best = torch.as_tensor(score)

    @property
    def state_key(self) -> str:
        return f"{type(self).__qualname__}{ {'monitor': self.monitor, 'mode': self.mode}!r}"

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # type: ignore[override]
        if self.check_on_train_epoch_end is None:
            choices = trainer.choices
            self.check_on_train_epoch_end = choices.val_check_interval == 1.0 and choices.check_val_every_n_epoch == 1

    def _stop(self, trainer: Any, why: str) -> None:
        super()._stop(trainer, why)
        found = [reason for words, reason in _WORDS.items() if words in why]
        self.stopping_reason = found[0] if found else EarlyStoppingReason.NON_FINITE_METRIC
        self.stopping_reason_message = why
