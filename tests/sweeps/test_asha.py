"""Who goes on under ASHA?"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.core.sweep import make_sweep
from leyden.sweeps.asha import Asha
from leyden.sweeps.course import Straight
from leyden.sweeps.courses import make_course
from leyden.sweeps.state import Standing, Trial
from tests.sweeps.course_player import Player, measured

NINE = Asha(min_resource=1, max_resource=9, eta=3)


def paused(number: int, *scores: float, standing: Standing = Standing.PAUSED) -> Trial:
    return Trial(number=number, params={}, scores=scores, allowed=len(scores) - 1, standing=standing)


def test_rungs_rise_by_eta_and_end_at_the_most() -> None:
    assert NINE.levels(0) == (1, 3, 9)
    assert Asha(min_resource=2, max_resource=100, eta=4).levels(0) == (2, 8, 32, 100)
    assert Asha(min_resource=5, max_resource=5, eta=4).levels(0) == (5,)
    assert [NINE.budget_of(Trial(number=0, params={}, allowed=rung)) for rung in range(3)] == [1, 3, 9]


def test_the_best_third_goes_on_as_soon_as_there_is_one() -> None:
    trials = [paused(0, 0.5), paused(1, 0.4)]
    assert NINE.promotable(trials) == []
    trials.append(paused(2, 0.6, standing=Standing.GOING))  # just measured
    assert NINE.promotable(trials) == [1]
    trials[2] = paused(2, 0.1, standing=Standing.GOING)
    assert NINE.promotable(trials) == [2], "it need not pause first"
    trials[2] = replace(trials[2], allowed=1)
    assert NINE.promotable(trials) == [], "nobody goes on twice from a rung, and the second best must wait"


def test_the_highest_rung_first_in_it_the_best() -> None:
    low = [paused(number, 0.9 - number / 100) for number in range(9)]
    high = [paused(number, 0.1, 0.05 * number) for number in (20, 21, 22)]
    # rung 0: 12 measured, so 4 may go on: the three with 0.1 (gone already) and the best of the others
    assert NINE.promotable(low + high) == [20, 8]
    top = [paused(number, 0.1, 0.1, 0.1) for number in (30, 31, 32)]
    assert NINE.promotable(low + top) == [8], "from the last rung nobody goes on"


def test_equal_scores_go_by_number() -> None:
    assert NINE.promotable([paused(number, 0.5) for number in (4, 2, 3, 7, 6, 5)]) == [2, 3]


def test_failed_and_dropped_count_but_stay() -> None:
    trials = [paused(0, 0.5), paused(1, 0.4), paused(2, 0.1, standing=Standing.FAILED)]
    assert NINE.promotable(trials) == [], "the place is its own"
    assert NINE.promotable([*trials[:2], paused(2, 0.9, standing=Standing.FAILED)]) == [1], "it is one of three"
    trials = [*trials, paused(3, 0.6), paused(4, 0.2, standing=Standing.DROPPED), paused(5, 0.7)]
    assert NINE.promotable(trials) == [], "the two places are theirs"
    assert NINE.promotable([*trials, paused(6, 0.8), paused(7, 0.8), paused(8, 0.8)]) == [1]
    crashed = Trial(number=9, params={}, standing=Standing.FAILED)
    assert NINE.promotable([paused(0, 0.5), paused(1, 0.4), crashed]) == [], "never measured, so it is none of n"


def test_over_once_all_have_started_and_nothing_moves() -> None:
    trials = [paused(0, 0.5), paused(1, 0.4)]
    assert NINE.over(trials, 2)
    assert not NINE.over(trials, 3)
    assert not NINE.over(trials, None), "without a number there is always one more"
    assert not NINE.over([*trials, Trial(number=2, params={})], 3), "one is going"
    assert not NINE.over([*trials, paused(2, 0.6)], 3), "one may go on"


def test_straight_has_no_rungs() -> None:
    course = make_course(make_sweep({"strategy": "random"}))
    going = Trial(number=0, params={})
    assert isinstance(course, Straight)
    assert (course.levels(0), course.budget_of(going), course.promotable([going])) == ((), None, [])
    assert course.room([going])
    assert not course.over([going], 1)
    assert course.over([replace(going, standing=Standing.FAILED)], 1)


def test_the_best_of_known_curves_is_found_for_the_expected_resource() -> None:
    course = make_course(make_sweep({"strategy": "asha", "metric": "loss", "max_resource": 27}))
    quality = random.Random(1).sample(range(81), 81)

    def loss(number: int, resource: int) -> float:
        return quality[number] / 81 + 1 / resource  # never cross, so early rungs say the truth

    player = Player(course, loss, asked=81, parallel=4).play()
    done = {trial.number for trial in player.trials.values() if trial.standing is Standing.DONE}
    assert quality.index(0) in done
    # successive halving spends 81·1 + 27·2 + 9·6 + 3·18 = 243; going on too early costs ASHA a part more
    assert 243 <= player.spent <= 2 * 243
    assert player.spent < 81 * 27 / 4, "a fraction of training all"


@settings(max_examples=60, deadline=None)
@given(
    fates=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([None, None, None, 0, 1, 2])), min_size=1, max_size=40
    ),
    eta=st.integers(2, 4),
    parallel=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_whatever_the_order(fates: list[tuple[int, int | None]], eta: int, parallel: int, seed: int) -> None:
    """Each trial has a score, and a rung on the way to which it crashes, or none."""
    course = Asha(min_resource=1, max_resource=eta**3, eta=eta)

    def loss(number: int, resource: int) -> float | None:
        score, crash = fates[number]
        return None if crash is not None and resource >= eta**crash else float(score)

    player = Player(course, loss, asked=len(fates), parallel=parallel, seed=seed).play()
    trials = list(player.trials.values())
    assert len(trials) == len(fates)
    assert len(set(player.promotions)) == len(player.promotions), "nobody goes on twice from one rung"
    for trial in trials:
        if trial.standing is Standing.FAILED:
            assert len(trial.scores) == trial.allowed == fates[trial.number][1], "it never went on after it had failed"
    for rung in range(3):
        there = measured(trials, rung)
        best = sorted(there, key=lambda trial: (trial.scores[rung], trial.number))[: len(there) // eta]
        assert all(trial.allowed > rung for trial in best), "nobody is lost: the best of all went on in the end"
