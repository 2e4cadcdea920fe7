"""How much of the work is done? Rank 0 tells the record, at most once a second; the server reckons what is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from leyden.train.callbacks.timer import Timer

if TYPE_CHECKING:
    from leyden.train.fitting import Fit
    from leyden.train.trainer import Trainer

NAME: Final = "system/progress"
EVERY_S: Final = 1.0


@final
class Share:
    """Tells what `done` says, from 0 to 1; None where nobody knows. A share that stands still is not told again."""

    def __init__(
        self, trainer: Trainer, done: Callable[[], float | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._trainer, self._done, self._clock = trainer, done, clock
        self._writer = trainer.run.writer if trainer.run is not None and trainer.is_global_zero else None
        self._told, self._due_at = -1.0, -math.inf

    def tell(self, *, at_once: bool = False) -> None:
        """Unless it was told within the last second."""
        if self._writer is None or (self._clock() < self._due_at and not at_once):
            return
        share = self._done()
        if share is not None and share != self._told:
            self._told, self._due_at = share, self._clock() + EVERY_S
            self._writer.add(self._trainer.global_step, {NAME: share})


def share_of_fit(trainer: Trainer, fit: Fit) -> float | None:
    """Of the way to the nearest bound. Where nobody knows how long an epoch is, only whole ones count."""
    plan, batches = fit.plan, fit.feed.batches
    epochs = trainer.current_epoch + (fit.batch / batches if batches else 0.0)
    shares = [
        done / most for done, most in ((epochs, plan.max_epochs), (trainer.global_step, plan.max_steps)) if most > 0
    ]
    for one in trainer.callbacks:
        left_s = one.time_remaining() if isinstance(one, Timer) else None
        if isinstance(one, Timer) and left_s is not None:
            shares.append(one.time_elapsed() / max(1e-9, one.time_elapsed() + left_s))
    return min(1.0, max(shares)) if shares else None
