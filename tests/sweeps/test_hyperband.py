"""Who goes on under Hyperband?"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.core.sweep import make_sweep
from leyden.sweeps.courses import make_course
from leyden.sweeps.hyperband import Hyperband
from leyden.sweeps.state import Standing, Trial
from tests.sweeps.course_player import Player, measured

PAPER = Hyperband(min_resource=1, max_resource=81, eta=3)

# Li et al. 2018 (JMLR), Table 1: R = 81, η = 3; (n_i, r_i) of each rung, s = 4 to 0.
TABLE = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]


def play(course: Hyperband, asked: int, *, parallel: int = 7, seed: int = 0) -> Player:
    quality = random.Random(seed).sample(range(asked), asked)
    return Player(
        course, lambda number, resource: quality[number] + 1 / resource, asked=asked, parallel=parallel, seed=seed
    ).play()


def test_the_paper_s_table() -> None:
    """All 143 trials of a round, played: how many are measured in every rung of every bracket."""
    player = play(PAPER, 143)
    for bracket, rungs in enumerate(TABLE):
        assert PAPER.levels(bracket) == tuple(resource for _, resource in rungs)
        members = [trial for trial in player.trials.values() if trial.bracket == bracket]
        assert [len(measured(members, rung)) for rung in range(len(rungs))] == [count for count, _ in rungs]
    assert player.spent == sum(
        count * (resource - (rungs[rung - 1][1] if rung else 0))
        for rungs in TABLE
        for rung, (count, resource) in enumerate(rungs)
    )


def test_the_best_of_each_bracket_is_found() -> None:
    player = play(PAPER, 143)
    for bracket in range(5):
        members = [trial for trial in player.trials.values() if trial.bracket == bracket]
        done = [trial.number for trial in members if trial.standing is Standing.DONE]
        assert min(members, key=lambda trial: trial.scores[0]).number in done


def test_numbers_fill_brackets_round_after_round() -> None:
    assert [PAPER.bracket_of(number) for number in (0, 80, 81, 114, 115, 129, 130, 137, 138, 142)] == [
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4,
    ]  # fmt: skip
    assert (PAPER.bracket_of(143), PAPER.bracket_of(143 + 81)) == (5, 6)
    assert PAPER.levels(5) == PAPER.levels(0)
    assert PAPER.levels(9) == (81,)


def test_the_last_bracket_may_be_smaller() -> None:
    course = Hyperband(min_resource=1, max_resource=9, eta=3, trials=12)  # brackets of 9, 5 and 3
    assert [course.size(bracket) for bracket in range(4)] == [9, 3, 0, 0]
    player = play(course, 12)
    assert [len(measured(list(player.trials.values())[9:], rung)) for rung in range(2)] == [3, 1]
    twice = Hyperband(min_resource=1, max_resource=9, eta=3, trials=20)
    assert [twice.size(bracket) for bracket in range(5)] == [9, 5, 3, 3, 0]


def test_room_is_what_the_rounds_take() -> None:
    trials = [Trial(number=number, params={}, bracket=PAPER.bracket_of(number)) for number in range(143)]
    assert PAPER.room(trials[:142])
    assert not PAPER.room(trials)
    sweep = make_sweep({"strategy": "hyperband", "metric": "loss", "max_resource": 9, "trials": 4})
    assert not make_course(sweep).room(trials[:4])


def members(standings: list[Standing], scores: list[float | None]) -> list[Trial]:
    return [
        Trial(number=number, params={}, standing=standing, scores=() if score is None else (score,))
        for number, (standing, score) in enumerate(zip(standings, scores, strict=True))
    ]


def test_a_rung_waits_for_all_its_trials() -> None:
    course = Hyperband(min_resource=1, max_resource=3, eta=3, trials=6)
    # bracket 0 takes 3, bracket 1 begins with number 3
    assert [course.bracket_of(number) for number in range(4)] == [0, 0, 0, 1]
    two = members([Standing.PAUSED] * 2, [0.1, 0.2])
    assert course.promotable(two) == [], "the third has not started"
    assert PAPER.promotable(members([Standing.PAUSED] * 80, [0.1] * 80)) == [], "one of 81 has not started"
    three = [*two, Trial(number=2, params={})]
    assert course.promotable(three) == [], "the third is not measured"
    assert course.promotable([*two, Trial(number=2, params={}, standing=Standing.FAILED)]) == [0]
    assert course.promotable([*two, Trial(number=2, params={}, standing=Standing.DROPPED)]) == [0]
    assert course.promotable([*two, Trial(number=2, params={}, scores=(0.05,))]) == [2], "going, just measured"


def test_a_failed_one_has_the_worst_score() -> None:
    course = Hyperband(min_resource=1, max_resource=2, eta=2, trials=2)
    trials = members([Standing.FAILED, Standing.PAUSED], [0.1, 0.2])
    assert course.promotable(trials) == [1], "it failed after it had been measured"
    gone = [trials[1], replace(trials[0], standing=Standing.FAILED, allowed=1)]
    assert course.promotable(gone) == [], "who failed beyond the rung is not replaced"
    assert course.over(gone, 2)


def test_resources_are_rounded() -> None:
    course = Hyperband(min_resource=2, max_resource=50, eta=4)
    assert [course.levels(bracket) for bracket in range(3)] == [(3, 13, 50), (13, 50), (50,)]
    assert Hyperband(min_resource=7, max_resource=7, eta=3).levels(0) == (7,)


@pytest.mark.parametrize(("low", "high", "eta"), [(1, 10**9, 2), (3, 10**6 + 1, 3), (1, 2, 2), (5, 99, 7)])
def test_levels_rise(low: int, high: int, eta: int) -> None:
    levels = Hyperband(min_resource=low, max_resource=high, eta=eta).levels(0)
    assert all(one < other for one, other in itertools.pairwise(levels))
    assert (levels[0] >= low, levels[-1]) == (True, high)


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
    course = Hyperband(min_resource=1, max_resource=eta**3, eta=eta, trials=len(fates))

    def loss(number: int, resource: int) -> float | None:
        score, crash = fates[number]
        return None if crash is not None and resource >= eta**crash else float(score)

    player = Player(course, loss, asked=len(fates), parallel=parallel, seed=seed).play()
    assert len(player.trials) == len(fates)
    assert len(set(player.promotions)) == len(player.promotions)
    for bracket in {trial.bracket for trial in player.trials.values()}:
        there = [trial for trial in player.trials.values() if trial.bracket == bracket]
        for rung in range(len(course.levels(bracket)) - 1):
            on = [trial for trial in there if trial.allowed > rung]
            living = measured(there, rung)
            assert len(on) == min(len(there) // eta, len(living)), "⌊n/eta⌋ go on, fewer only where fewer live"
            best = sorted(living, key=lambda trial: (trial.scores[rung], trial.number))[: len(on)]
            assert {trial.number for trial in best} == {trial.number for trial in on}
            there = on
