"""Which trials go on under ASHA, the asynchronous form of successive halving?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from leyden.sweeps.course import Course, waits_at
from leyden.sweeps.state import Trial


@final
class Asha(Course):
    """Algorithm 2 of Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), with s = 0.

    In each rung the best ⌊n/eta⌋ of all n that were measured there may go on, at any time, without waiting for others.
    Trials that failed or were dropped after they had been measured count in n and keep their place, but do not go on.
    As n grows, one that went on early may fall behind the best ⌊n/eta⌋; that is the price of not waiting (the paper
    expects about √n of them), so a rung can let more than ⌊n/eta⌋ go on in all, never more than that at one time.

    At the end nothing is done for rungs with fewer than eta trials: all have been started, none is going, none is
    promotable, so the sweep is over. Hence max_resource is reached for certain only by sweeps of eta^(rungs-1) trials.
    """

    def __init__(self, *, min_resource: int, max_resource: int, eta: int) -> None:
        levels = [min_resource]
        while levels[-1] < max_resource:
            levels.append(min(levels[-1] * eta, max_resource))
        self._levels = tuple(levels)
        self._eta = eta

    def levels(self, bracket: int) -> tuple[int, ...]:
        """
        >>> Asha(min_resource=1, max_resource=10, eta=3).levels(0)
        (1, 3, 9, 10)
        """
        return self._levels

    def promotable(self, trials: Sequence[Trial]) -> list[int]:
        """The highest rung first, in it the best first. Time: O(n log n)."""
        found: list[list[int]] = []
        measured: Sequence[Trial] = trials
        for rung in range(len(self._levels) - 1):  # nobody goes on from the last
            measured = [trial for trial in measured if len(trial.scores) > rung]
            count = len(measured) // self._eta
            if not count:
                break
            ranks = sorted((trial.scores[rung], trial.number, trial) for trial in measured)  # numbers differ
            found.append([number for _, number, trial in ranks[:count] if waits_at(trial, rung)])
        return [number for rung_found in reversed(found) for number in rung_found]
