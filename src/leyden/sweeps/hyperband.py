"""Which trials go on under Hyperband, successive halving in brackets that hedge how early a trial can be judged?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from leyden.sweeps.course import Course, waits_at
from leyden.sweeps.state import Standing, Trial


@final
class Hyperband(Course):
    """Algorithm 1 of Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (JMLR 2018).

    With R = max_resource / min_resource and s_max = ⌊log_eta R⌋, bracket 0 is the paper's s = s_max, with the most
    trials and the earliest rung; bracket s_max is its s = 0, whose trials train to the end. After it the next round
    begins with bracket s_max + 1. Trials fill the brackets in the order of their numbers; `trials` (None: one round)
    may end in the midst of a bracket, which is then smaller. Brackets are independent of each other, so trials of the
    next one are started while those of one before still train.

    Within a bracket halving is synchronous: once every trial that was let to a rung has been measured there, has failed
    or was dropped, the best ⌊n/eta⌋ of those n go on. One that failed or was dropped counts in n with the worst score.
    """

    def __init__(self, *, min_resource: int, max_resource: int, eta: int, trials: int | None = None) -> None:
        self._top = max_resource
        self._eta = eta
        s_max = 0
        while min_resource * eta ** (s_max + 1) <= max_resource:
            s_max += 1
        self._sizes: list[int] = [-(-(s_max + 1) * eta**s // (s + 1)) for s in range(s_max, -1, -1)]
        self._trials = sum(self._sizes) if trials is None else trials

    def levels(self, bracket: int) -> tuple[int, ...]:
        """Rounded to whole epochs or steps where max_resource is no multiple of a power of eta.

        >>> Hyperband(min_resource=1, max_resource=100, eta=3).levels(0)
        (1, 4, 11, 33, 100)
        """
        powers: list[int] = [self._eta**s for s in range(self._halvings(bracket), -1, -1)]
        return tuple((2 * self._top + power) // (2 * power) for power in powers)

    def bracket_of(self, number: int) -> int:
        rounds, place = divmod(number, sum(self._sizes))
        bracket = 0
        while place >= self._sizes[bracket]:
            place -= self._sizes[bracket]
            bracket += 1
        return rounds * len(self._sizes) + bracket

    def size(self, bracket: int) -> int:
        """How many trials begin in the bracket."""
        rounds, place = divmod(bracket, len(self._sizes))
        before = rounds * sum(self._sizes) + sum(self._sizes[:place])
        return max(0, min(self._sizes[place], self._trials - before))

    def room(self, trials: Sequence[Trial]) -> bool:
        return len(trials) < self._trials

    def promotable(self, trials: Sequence[Trial]) -> list[int]:
        """Earlier brackets first, in each the best of its last complete rung."""
        brackets: dict[int, list[Trial]] = {}
        for trial in trials:
            brackets.setdefault(trial.bracket, []).append(trial)
        return [number for bracket in sorted(brackets) for number in self._in_bracket(bracket, brackets[bracket])]

    def _in_bracket(self, bracket: int, members: list[Trial]) -> list[int]:
        if len(members) < self.size(bracket):
            return []
        for rung in range(self._halvings(bracket)):
            if any(len(one.scores) <= rung and one.standing not in _ENDED for one in members):
                break  # the rung is not complete, so nobody is further
            gone_on = [trial for trial in members if trial.allowed > rung]
            ranks = sorted((trial.scores[rung], trial.number) for trial in members if waits_at(trial, rung))
            if best := ranks[: max(0, len(members) // self._eta - len(gone_on))]:
                return [number for _, number in best]
            members = gone_on
        return []

    def _halvings(self, bracket: int) -> int:
        """The paper's s."""
        return len(self._sizes) - 1 - bracket % len(self._sizes)


_ENDED = {Standing.FAILED, Standing.DROPPED, Standing.DONE}
