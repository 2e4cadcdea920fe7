"""How far does each trial of a sweep train, and which ones go on?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

from leyden.sweeps.state import Standing, Trial


class Course(ABC):
    """What is decided of trials on their way. Pure: the same trials give the same answer, in whatever order they stand.

    A trial trains to `budget_of` it, is measured there (its `scores` grow by one) and is then `promotable`, or pauses.
    Whoever promotes it raises its `allowed` by one.
    """

    @abstractmethod
    def levels(self, bracket: int) -> tuple[int, ...]:
        """Resource at each rung of the bracket, rising, the last as far as any trial trains; () without rungs."""

    @abstractmethod
    def promotable(self, trials: Sequence[Trial]) -> list[int]:
        """Numbers of the trials that may train to their next rung, the first to go first.

        They are paused, or going and just measured at their allowed rung.
        """

    def bracket_of(self, number: int) -> int:
        """Which bracket the trial of that number belongs to. Numbers are counted from 0."""
        return 0

    def room(self, trials: Sequence[Trial]) -> bool:
        """Whether one more trial may be started, as far as the course is concerned; once False it stays so."""
        return True

    def over(self, trials: Sequence[Trial], asked: int | None) -> bool:
        """Whether nothing can change any more: all are started, none is going, none may go on.

        Those that still pause then stay behind for good. A trial that replaces another one counts as that one.
        """
        if any(trial.standing is Standing.GOING for trial in trials):
            return False
        started = sum(trial.parent is None for trial in trials)
        all_started = not self.room(trials) or (asked is not None and started >= asked)
        return all_started and not self.promotable(trials)

    @final
    def budget_of(self, trial: Trial) -> int | None:
        """Resource up to which it may train; None: to its own end."""
        levels = self.levels(trial.bracket)
        return levels[trial.allowed] if levels else None


@final
class Straight(Course):
    """Every trial trains to its end."""

    def levels(self, bracket: int) -> tuple[int, ...]:
        return ()

    def promotable(self, trials: Sequence[Trial]) -> list[int]:
        return []


def waits_at(trial: Trial, rung: int) -> bool:
    """Whether it has been measured at that rung, lives, and was not let go on from it."""
    return (
        trial.allowed == rung
        and len(trial.scores) > rung
        and (trial.standing is Standing.PAUSED or trial.standing is Standing.GOING)
    )
