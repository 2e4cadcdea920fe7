"""Is a job told when it starts, as far as that can be known, and nothing where it cannot?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.core.reasons import Reason, ReasonCode
from leyden.jobs.snapshot import Interval, Quota
from tests.jobs.lines import GPUS, a_machine, decided, running, waiting

FOUR = a_machine(4, 8)


def key(number: int) -> str:
    return f"{number:010}"


def test_declared_times_are_the_most() -> None:
    taken = [running(1, *(f"gpu:{index}" for index in range(4)), time_s=3600.0)]
    queue = [waiting(2, gpus=4, time_s=600.0), waiting(3, gpus=2), waiting(4, gpus=2), waiting(5, gpus=4)]
    decisions = decided(FOUR, queue, taken, now=100.0)
    assert decisions.order == [key(number) for number in (2, 3, 4, 5)]
    assert decisions.expected == {
        key(2): Interval(low=100.0, high=3600.0),
        key(3): Interval(low=100.0, high=4200.0),
        key(4): Interval(low=100.0, high=4200.0),
    }  # and of the last one nothing can be said


def test_history_tells_more() -> None:
    lasts = Interval(low=1800.0, high=2400.0)
    taken = [running(1, *(f"gpu:{index}" for index in range(4)), lasts=lasts)]
    queue = [waiting(number, gpus=4, lasts=lasts) for number in (2, 3)]
    expected = decided(FOUR, queue, taken, now=600.0).expected
    assert expected == {key(2): Interval(low=1800.0, high=2400.0), key(3): Interval(low=3600.0, high=4800.0)}


def test_what_runs_longer_than_its_like_may_need_as_long_again_but_no_more_than_it_declared() -> None:
    lasts = Interval(low=60.0, high=120.0)
    devices = [f"gpu:{index}" for index in range(4)]
    for time_s, high in ((None, 2000.0), (1500.0, 1500.0)):
        taken = [running(1, *devices, time_s=time_s, lasts=lasts)]
        expected = decided(FOUR, [waiting(2, gpus=1)], taken, now=1000.0).expected
        assert expected == {key(2): Interval(low=1000.0, high=high)}


def test_other_models_of_gpus_are_other_devices() -> None:
    taken = [running(1, "gpu:0", "gpu:1", time_s=100.0), running(2, "gpu:2", time_s=1000.0)]
    queue = [waiting(3, gpus=1, model="L4"), waiting(4, gpus=3), waiting(5, gpus=1, model="A100", time_s=5.0)]
    expected = decided(GPUS, queue, taken, now=10.0).expected
    assert {one: interval.high for one, interval in expected.items()} == {
        key(3): 1000.0
    }  # gpu:2 is free nobody knows when
    queue = [waiting(3, gpus=1, model="L4", time_s=50.0), waiting(4, gpus=3, time_s=1.0), waiting(5, gpus=1)]
    expected = decided(GPUS, queue, taken, now=10.0).expected
    assert {one: interval.high for one, interval in expected.items()} == {
        key(3): 1000.0,
        key(4): 1050.0,
        key(5): 1051.0,
    }


@pytest.mark.parametrize("stops", [True, False])
def test_a_job_that_stops_is_gone_within_its_grace(stops: bool) -> None:
    taken = [running(1, *(f"gpu:{index}" for index in range(4)), stops=stops)]
    assert bool(decided(FOUR, [waiting(2, gpus=1)], taken).expected) == stops


jobs = st.tuples(st.integers(0, 4), st.integers(1, 8), st.sampled_from([None, 10.0, 100.0]), st.booleans())


@given(st.lists(jobs, max_size=20))
def test_intervals_are_in_order_and_only_of_those_in_line(specs: list[tuple[int, int, float | None, bool]]) -> None:
    queue = [
        waiting(number, gpus=gpus, cpus=cpus, time_s=time_s, lasts=Interval(low=3.0, high=30.0) if known else None)
        for number, (gpus, cpus, time_s, known) in enumerate(specs)
    ]
    decisions = decided(FOUR, queue, [running(99, "gpu:0", "cpu:0", since=180.0, time_s=50.0)], now=190.0)
    assert set(decisions.expected) <= set(decisions.order) == set(decisions.reasons)
    for interval in decisions.expected.values():
        assert 190.0 <= interval.low <= interval.high < float("inf")


def test_a_quota_is_as_many_places_of_ones_own() -> None:
    taken = [running(1, "gpu:0", "gpu:1", time_s=600.0), running(2, "gpu:2", time_s=1000.0, user="bob")]
    queue = [
        waiting(3, gpus=1, time_s=50.0),
        waiting(4, gpus=2, time_s=50.0),
        waiting(5, gpus=1, time_s=70.0, user="bob"),
    ]
    decisions = decided(FOUR, queue, taken, now=100.0, quotas={"ada": Quota(gpus=2), "bob": Quota(gpus=1)})
    assert {key: reason.code for key, reason in decisions.reasons.items()} == dict.fromkeys(
        [key(3), key(4), key(5)], ReasonCode.QUOTA
    )
    assert decisions.expected == {
        key(3): Interval(low=100.0, high=600.0),
        key(4): Interval(low=100.0, high=650.0),
        key(5): Interval(low=100.0, high=1000.0),
    }
    assert decided(FOUR, [waiting(3, gpus=3)], taken, now=100.0, quotas={"ada": Quota(gpus=2)}).expected == {}


def test_who_comes_after_another_starts_when_that_has_ended() -> None:
    lasts = Interval(low=60.0, high=90.0)
    taken = [running(1, "gpu:0", lasts=lasts)]
    reason = Reason(code=ReasonCode.AFTER, text="comes after")
    second = replace(waiting(2, gpus=1, lasts=lasts), blocked=reason, after=(key(1),))
    third = replace(waiting(3, gpus=1), blocked=reason, after=(key(1), key(2)))
    unknown = replace(waiting(4, gpus=1), blocked=reason, after=("paused",))
    expected = decided(FOUR, [second, third, unknown], taken, now=10.0).expected
    assert expected == {key(2): Interval(low=60.0, high=90.0), key(3): Interval(low=120.0, high=180.0)}


def test_who_is_tried_again_later_starts_no_sooner() -> None:
    again = replace(waiting(2, gpus=1), not_before=130.0)
    assert decided(FOUR, [again], now=100.0).expected == {key(2): Interval(low=130.0, high=130.0)}
