"""A sweep without jobs: trials train, pause and go on, in an order drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from leyden.sweeps.course import Course
from leyden.sweeps.state import Standing, Trial

Curve = Callable[[int, int], float | None]  # (number, resource) → score; None: it crashes on its way there


class Player:
    """Starts trials while there is room, advances one that goes, lets go on what the course lets go on."""

    def __init__(self, course: Course, curve: Curve, *, asked: int, parallel: int = 4, seed: int = 0) -> None:
        self.course, self.curve, self.asked, self.parallel = course, curve, asked, parallel
        self.rng = random.Random(seed)
        self.trials: dict[int, Trial] = {}
        self.spent = 0
        self.promotions: list[tuple[int, int]] = []  # (number, rung it left)

    def seen(self) -> list[Trial]:
        """As a store may answer: in any order."""
        return self.rng.sample(list(self.trials.values()), len(self.trials))

    def play(self) -> Player:
        for _ in range(100_000):
            if self.course.over(self.seen(), self.asked):
                return self
            self._fill()
            going = [trial for trial in self.trials.values() if trial.standing is Standing.GOING]
            assert going, "nothing goes, and yet it is not over"
            self._advance(self.rng.choice(going))
        raise AssertionError("never over")

    def _fill(self) -> None:
        """Promotions before new trials, as long as there are places."""
        while sum(trial.standing is Standing.GOING for trial in self.trials.values()) < self.parallel:
            if waiting := self.course.promotable(self.seen()):
                assert len(set(waiting)) == len(waiting)
                self._promote(waiting[0])
            elif len(self.trials) < self.asked and self.course.room(self.seen()):
                number = len(self.trials)
                self.trials[number] = Trial(number=number, params={}, bracket=self.course.bracket_of(number))
            else:
                return

    def _promote(self, number: int) -> None:
        trial = self.trials[number]
        assert trial.standing in {Standing.PAUSED, Standing.GOING}
        self.promotions.append((number, trial.allowed))
        self.trials[number] = replace(trial, standing=Standing.GOING, allowed=trial.allowed + 1)

    def _advance(self, trial: Trial) -> None:
        levels = self.course.levels(trial.bracket)
        budget = self.course.budget_of(trial)
        assert budget == levels[trial.allowed]
        self.spent += budget - (levels[trial.allowed - 1] if trial.allowed else 0)
        score = self.curve(trial.number, budget)
        if score is None:
            self.trials[trial.number] = replace(trial, standing=Standing.FAILED)
            return
        scores = (*trial.scores, score)
        self.trials[trial.number] = replace(trial, scores=scores)
        if trial.allowed + 1 == len(levels):
            self.trials[trial.number] = replace(trial, scores=scores, standing=Standing.DONE, final=(score,))
        elif trial.number in self.course.promotable(self.seen()):
            self._promote(trial.number)  # in the same process
        else:
            self.trials[trial.number] = replace(trial, scores=scores, standing=Standing.PAUSED)


def measured(trials: list[Trial], rung: int) -> list[Trial]:
    return [trial for trial in trials if len(trial.scores) > rung]
