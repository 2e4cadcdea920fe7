"""Which trials go on under population based training, and which are replaced by changed copies of better ones?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import final

from leyden.core.errors import SpecError
from leyden.sweeps.course import Course, waits_at
from leyden.sweeps.state import Standing, Trial

_FIFTH = 5
_MOST_LEVELS = 10_000


@final
class Pbt(Course):
    """Jaderberg et al., "Population Based Training of Neural Networks" (2017), with their truncation selection.

    Every trial goes on at every level, unless `exploit` names another one that is to be copied in its place. The trial
    is then DROPPED, and its successor, with `parent` and changed parameters, is a new trial: its `scores` begin with
    those of its parent up to the level whose checkpoint is copied, its `allowed` is the level after that one. So the
    population, the trials that neither failed nor were dropped, has a score at each level it has passed, and never
    grows.
    """

    def __init__(self, *, min_resource: int, max_resource: int, population: int) -> None:
        if max_resource > min_resource * _MOST_LEVELS:
            raise SpecError(
                asked=f"strategy pbt compares trials every {min_resource} up to {max_resource}",
                found=f"those are more than {_MOST_LEVELS} times",
                do="Give a larger min_resource.",
            )
        self._levels = (*range(min_resource, max_resource, min_resource), max_resource)
        self._population = population

    def levels(self, bracket: int) -> tuple[int, ...]:
        """
        >>> Pbt(min_resource=2, max_resource=7, population=10).levels(0)
        (2, 4, 6, 7)
        """
        return self._levels

    def room(self, trials: Sequence[Trial]) -> bool:
        return sum(trial.parent is None for trial in trials) < self._population

    def promotable(self, trials: Sequence[Trial]) -> list[int]:
        """Everyone, the least trained first, so that the population stays together."""
        last = len(self._levels) - 1
        waiting = [(one.allowed, one.number) for one in trials if one.allowed < last and waits_at(one, one.allowed)]
        return [number for _, number in sorted(waiting)]

    def exploit(self, trial: Trial, trials: Sequence[Trial], rng: random.Random) -> int | None:
        """Number of the trial to be copied in place of this one, which has just been measured; None: it goes on.

        Of the n of the population that were measured at this level, in the worst ⌊n/5⌋ it is replaced by one of the
        best ⌊n/5⌋, each as likely. Before five were measured nobody can tell, so the first few go on; a population of
        two to four replaces its worst once all were measured. At the last level nothing is left to be trained.
        """
        level = len(trial.scores) - 1
        if not 0 <= level < len(self._levels) - 1:
            return None
        living = [one for one in trials if one.standing is not Standing.FAILED and one.standing is not Standing.DROPPED]
        ranks = sorted((one.scores[level], one.number) for one in living if len(one.scores) > level)
        if len(ranks) < min(_FIFTH, max(2, self._population)):
            return None
        fifth = max(1, len(ranks) // _FIFTH)
        if trial.number not in {number for _, number in ranks[-fifth:]}:
            return None
        return rng.choice(ranks[:fifth])[1]
