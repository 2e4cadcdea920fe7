"""Who goes on in a population, and who is replaced?"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from leyden.core.errors import SpecError
from leyden.core.sweep import make_sweep
from leyden.sweeps.courses import make_course
from leyden.sweeps.pbt import Pbt
from leyden.sweeps.state import Standing, Trial

TEN = Pbt(min_resource=2, max_resource=7, population=10)


def at_first_level(scores: list[float]) -> list[Trial]:
    return [Trial(number=number, params={}, scores=(score,)) for number, score in enumerate(scores)]


def test_levels_are_even_and_end_at_the_most() -> None:
    assert TEN.levels(0) == (2, 4, 6, 7)
    assert Pbt(min_resource=3, max_resource=9, population=2).levels(0) == (3, 6, 9)


def test_all_go_on_the_least_trained_first() -> None:
    trials = at_first_level([0.5, 0.6])
    trials[0] = replace(trials[0], scores=(0.5, 0.4), allowed=1, standing=Standing.PAUSED)
    training = Trial(number=2, params={})
    finished = Trial(number=3, params={}, scores=(0.1,) * 4, allowed=3)
    failed = Trial(number=4, params={}, scores=(0.1,), standing=Standing.FAILED)
    assert TEN.promotable([*trials, training, finished, failed]) == [1, 0]


def test_the_worst_fifth_copies_the_best_fifth() -> None:
    trials = at_first_level([0.1 * number for number in range(10)])
    rng = random.Random(0)
    copied = {number: {TEN.exploit(trials[number], trials, rng) for _ in range(40)} for number in range(10)}
    assert {number for number, by in copied.items() if by != {None}} == {8, 9}
    assert copied[8] == copied[9] == {0, 1}


def test_only_the_living_at_the_same_level_are_compared() -> None:
    trials = at_first_level([0.1, 0.2, 0.3, 0.4, 0.5])
    rng = random.Random(0)
    assert TEN.exploit(trials[4], trials, rng) == 0
    assert TEN.exploit(trials[4], trials[1:], rng) is None, "four cannot tell"
    worse = [replace(one, number=10 + one.number, scores=(9.0,), standing=Standing.DROPPED) for one in trials]
    assert TEN.exploit(trials[4], trials + worse, rng) == 0, "those replaced do not make it better"
    dead = [replace(trials[0], standing=Standing.FAILED), *trials[1:], Trial(number=5, params={}, scores=(0.45,))]
    assert TEN.exploit(trials[4], dead, rng) == 1, "a failed one is never copied"
    later = replace(trials[4], scores=(0.5, 0.9), allowed=1)
    assert TEN.exploit(later, [*trials[:4], later], rng) is None, "nobody else has been measured there"


def test_a_small_population_replaces_its_worst_once_all_were_measured() -> None:
    course = Pbt(min_resource=1, max_resource=4, population=3)
    trials = at_first_level([0.1, 0.2, 0.3])
    rng = random.Random(0)
    assert course.exploit(trials[1], trials[:2], rng) is None
    assert [course.exploit(one, trials, rng) for one in trials] == [None, None, 0]
    alone = Pbt(min_resource=1, max_resource=4, population=1)
    assert alone.exploit(trials[0], trials[:1], rng) is None


def test_nothing_is_copied_at_the_end() -> None:
    course = Pbt(min_resource=1, max_resource=2, population=5)
    trials = [Trial(number=one, params={}, scores=(0.1 * one,) * 2, allowed=1) for one in range(5)]
    assert course.exploit(trials[4], trials, random.Random(0)) is None
    assert course.promotable(trials) == []


def test_a_successor_takes_the_place_of_who_it_replaces() -> None:
    course = make_course(make_sweep({"strategy": "pbt", "metric": "loss", "max_resource": 3, "trials": 2}))
    done = Trial(number=0, params={}, scores=(0.1,) * 3, allowed=2, standing=Standing.DONE)
    dropped = Trial(number=1, params={}, scores=(0.9,), standing=Standing.DROPPED)
    successor = replace(done, number=2, parent=0)
    assert course.room([done, successor]), "the second of the population has not started"
    assert not course.over([done, successor], 2)
    assert not course.room([done, dropped])
    assert course.over([done, dropped, successor], 2)
    assert not course.over([done, dropped, replace(successor, standing=Standing.GOING)], 2)


def test_a_population_copies_what_is_good() -> None:
    """Ten slots, each with a rate; a step's gain is the rate. The last level is won by copies of the best rate."""
    course, rng = Pbt(min_resource=1, max_resource=8, population=10), random.Random(3)
    trials = [Trial(number=number, params={"rate": number}) for number in range(10)]
    while not course.over(trials, 10):
        going = rng.choice([one for one in trials if one.standing is Standing.GOING])
        score = (going.scores[-1] if going.scores else 0.0) - float(going.params["rate"])
        going = trials[going.number] = replace(going, scores=(*going.scores, score))
        if (winner := course.exploit(going, trials, rng)) is not None:
            trials[going.number] = replace(going, standing=Standing.DROPPED)
            parent = trials[winner]
            if parent.standing is not Standing.DONE:
                copy = replace(parent, number=len(trials), parent=winner, allowed=len(parent.scores))
                trials.append(replace(copy, standing=Standing.GOING))
        elif going.number in course.promotable(trials):
            trials[going.number] = replace(going, allowed=going.allowed + 1)
        else:
            trials[going.number] = replace(going, standing=Standing.DONE)
    assert min(trials, key=lambda one: one.scores[-1]).params["rate"] == 9
    assert any(one.parent is not None and one.params["rate"] == 9 for one in trials)
    assert trials[0].standing is Standing.DROPPED


def test_what_cannot_be() -> None:
    with pytest.raises(SpecError, match="Give --trials"):
        make_course(make_sweep({"strategy": "pbt", "metric": "loss", "max_resource": 3}))
    with pytest.raises(SpecError, match="larger min_resource"):
        make_course(make_sweep({"strategy": "pbt", "metric": "loss", "max_resource": 10**6, "trials": 20}))
