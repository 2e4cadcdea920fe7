"""Do several jobs get one GPU, never more than all of it, and does who wants a whole one still get one?"""

from __future__ import annotations

import random
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.core.devices import count_of, whole
from leyden.jobs import life
from leyden.jobs.rows import held_devices
from leyden.jobs.snapshot import Interval, Quota, Running
from leyden.jobs.store import Store
from leyden.jobs.transition import LostRaceError
from tests.jobs.invariants import each_held_once
from tests.jobs.lines import a_machine, decided, running, said, started, waiting
from tests.jobs.samples import a_job

ONE, TWO = a_machine(1, 64), a_machine(2, 64)


def quarters(*numbers: int, time_s: float | None = None) -> list[Running]:
    """Of GPU 0, each with a holder of its own."""
    return [running(number, f"gpu:0/4.{number}", time_s=time_s, since=float(number)) for number in numbers]


def test_a_gpu_is_filled_before_another_one_is_split() -> None:
    starts = decided(TWO, [waiting(number, gpus=1, share=4) for number in range(5)]).starts
    assert [devices[0] for devices in starts.values()] == [*(f"gpu:0/4.{part}" for part in range(4)), "gpu:1/4.0"]
    taken = [running(9, "gpu:1/4.1"), running(8, "gpu:0/2.0")]
    assert decided(TWO, [waiting(1, gpus=1, share=4)], taken).starts["0000000001"][0] == "gpu:1/4.0"


def test_a_gpu_is_held_whole_or_in_parts_of_one_split() -> None:
    taken = [*quarters(0), running(9, "gpu:1", "cpu:0")]
    queue = [waiting(11, gpus=1), waiting(12, gpus=1, share=2), waiting(13, gpus=1, share=4)]
    for one in queue[:2]:
        assert started(decided(TWO, [one], taken)) == set()
    assert decided(TWO, queue[2:], taken).starts["0000000013"][0] == "gpu:0/4.1"


def test_parts_are_not_given_away_while_a_whole_one_is_waited_for() -> None:
    queue = [waiting(10, gpus=1), waiting(11, gpus=1, share=4), waiting(12, gpus=1, share=8)]
    decisions = decided(ONE, queue, quarters(0, 1, time_s=3600.0), now=600.0)
    assert started(decisions) == set()
    assert said(decisions, 10) == (
        "waits for 1 GPU of gpu:0/4.0, held by job 0000 'digits' (ada) for 10m, until 01:00 at the latest; "
        "gpu:0/4.1, held by job 0001 'digits' (ada) for 9m, until 01:01 at the latest"
    )
    assert said(decisions, 11).startswith("waits for GPUs behind job 0010 'digits' (ada), ahead of it in the queue")
    soon = waiting(11, gpus=1, share=4, time_s=60.0)
    assert started(decided(ONE, [queue[0], soon], quarters(0, 1, time_s=3600.0), now=600.0)) == {11}


def test_what_one_waits_for_a_part_says() -> None:
    decisions = decided(ONE, [waiting(10, gpus=1, share=4), waiting(11, gpus=1, share=2)], quarters(0, 1, 2, 3))
    assert said(decisions, 10).startswith("waits for 1/4 of a GPU of gpu:0/4.0, held by job 0000 'digits' (ada) for")
    assert said(decisions, 11) == "waits for GPUs behind job 0010 'digits' (ada), ahead of it in the queue"
    decisions = decided(ONE, [waiting(10, gpus=1, share=4)], [running(1, "gpu:0")])
    assert said(decisions, 10) == "waits for gpu:0, held by job 0001 'digits' (ada) for 3m"


def test_four_quarters_fit_into_a_quota_of_one() -> None:
    queue = [waiting(number, gpus=1, share=4) for number in range(10, 14)] + [waiting(20, gpus=1, share=3)]
    decisions = decided(TWO, queue, quarters(0), quotas={"ada": Quota(gpus=1)})
    assert started(decisions) == {10, 11, 12}
    assert said(decisions, 13) == "asks for 1/4 of a GPU; ada holds 1 of a quota of 1"
    queue = [waiting(number, gpus=1, share=7) for number in range(8)]
    assert started(decided(TWO, queue, quotas={"ada": Quota(gpus=1)})) == set(range(7))


def test_for_a_whole_gpu_all_who_share_one_make_way_and_nobody_else() -> None:
    low = [running(each, f"gpu:{each % 2}/4.{each // 2}", priority=20, grace_s=30.0) for each in range(6)]
    decisions = decided(TWO, [waiting(10, gpus=1)], low)
    assert set(decisions.preempts) in ({f"{each:010}" for each in those} for those in ((0, 2, 4), (1, 3, 5)))
    stays = [running(9, "gpu:0/4.3"), running(8, "gpu:1/4.3")]
    assert decided(TWO, [waiting(10, gpus=1)], [*low, *stays]).preempts == {}  # it would be in vain
    assert len(decided(TWO, [waiting(10, gpus=1, share=4)], [*low, *stays]).preempts) == 1
    holder = running(7, "gpu:0", priority=20, grace_s=30.0)
    assert set(decided(ONE, [waiting(10, gpus=1, share=4)], [holder]).preempts) == {"0000000007"}


def test_times_are_told_of_parts() -> None:
    lasts = Interval(low=60.0, high=60.0)
    queue = [waiting(number, gpus=1, share=4, lasts=lasts) for number in range(10, 17)]
    taken = [running(number, f"gpu:0/4.{number}", lasts=lasts, since=100.0) for number in range(2)]
    expected = decided(ONE, [*queue, waiting(17, gpus=1, lasts=lasts)], taken, now=110.0).expected
    assert [(one.low, one.high) for one in expected.values()] == [*[(160.0, 160.0)] * 2, *[(170.0, 170.0)] * 2,
                                                                   (220.0, 220.0), (280.0, 280.0)]  # fmt: skip
    expected = decided(TWO, queue, taken, now=110.0, quotas={"ada": Quota(gpus=1)}).expected
    assert [one.high for one in expected.values()] == [160.0, 160.0, 170.0, 170.0, 220.0]  # there is a free GPU beside


@pytest.mark.parametrize("seed", range(40))
def test_nobody_waits_for_parts_that_began_after_it_came_to_stand_first(seed: int) -> None:
    """Jobs without an end take all that is spare, while those that ran before end in any order."""
    rng, four = random.Random(seed), a_machine(4, 64)
    before = [
        running(5 * gpu + part, f"gpu:{gpu}/{share}.{part}", since=rng.random())
        for gpu, share in enumerate(rng.choices([2, 3, 4], k=4))
        for part in range(rng.randint(1, share))
    ]
    first, after = waiting(100, gpus=rng.randint(1, 4)), list[Running]()
    for moment in range(60):
        stream = [waiting(1000 + 10 * moment + each, gpus=1, share=rng.choice([1, 2, 3, 4])) for each in range(3)]
        decisions = decided(four, [first, *stream], [*before, *after], now=100.0 + moment)
        if 100 in started(decisions):
            return
        begun = [running(int(key), *devices, since=100.0 + moment) for key, devices in decisions.starts.items()]
        after += begun
        assert each_held_once(device for one in [*before, *after] for device in one.devices)
        if not begun:
            before.remove(rng.choice(before))  # fails where there is none left to wait for


jobs = st.tuples(
    st.integers(0, 2), st.sampled_from([1, 2, 3, 4]), st.sampled_from([0, 50, 100]), st.sampled_from([None, 50.0])
)


@given(st.lists(st.lists(jobs, max_size=6), max_size=8), st.randoms(use_true_random=False))
def test_no_gpu_is_ever_given_away_twice(
    rounds: list[list[tuple[int, int, int, float | None]]], rng: random.Random
) -> None:
    line, taken, number = [], list[Running](), 0
    for moment, new in enumerate(rounds):
        for gpus, share, priority, time_s in new:
            shared = share if gpus == 1 else 1
            line.append(waiting(number := number + 1, gpus=gpus, share=shared, priority=priority, time_s=time_s))
        decisions = decided(TWO, line, taken, now=float(moment), quotas={"ada": Quota(gpus=2)})
        assert {one.who.job_id for one in line} == decisions.starts.keys() | decisions.reasons.keys()
        for one in line:
            if devices := decisions.starts.get(one.who.job_id):
                assert count_of(devices) == pytest.approx((one.size.gpus / one.size.share, 1))
                taken.append(running(int(one.who.job_id), *devices, since=float(moment), time_s=one.time_s))
        assert each_held_once(device for one in taken for device in one.devices)
        line = [one for one in line if one.who.job_id not in decisions.starts]
        taken = [one for one in taken if rng.random() < 0.6]


def test_a_pass_over_ten_thousand_jobs_of_every_share_is_no_slower() -> None:
    """Measured at 0.1 s."""
    queue = [waiting(number, gpus=1, share=1 + number % 64, time_s=number % 500 + 1.0) for number in range(10_000)]
    begin = time.process_time()
    decisions = decided(a_machine(8, 64), queue)
    assert time.process_time() - begin < 1.0
    assert len({whole(devices[0]) for devices in decisions.starts.values()}) == 8


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        ("gpu:0", "gpu:0/4.1", False),
        ("gpu:0/4.1", "gpu:0", False),
        ("gpu:0/4.1", "gpu:0/2.0", False),
        ("gpu:0/4.1", "gpu:0/4.2", True),
        ("gpu:1/4.1", "gpu:0", True),
        ("gpu:1", "gpu:10/4.0", True),
    ],
)
def test_the_store_itself_gives_no_gpu_away_twice(store: Store, held: str, wanted: str, fits: bool) -> None:
    """Whatever the scheduler believes; and the job that was refused waits on."""
    first, second = a_job(), a_job()
    store.write(partial(life.submit_many, new=[first, second]))
    store.write(partial(life.admit, job_id=first.id, devices=[held, "cpu:0"], node="n", at=1.0))
    again = store.submit(partial(life.admit, job_id=second.id, devices=[wanted, "cpu:1"], node="n", at=1.0))
    assert (again.exception() is None) == fits
    assert fits or isinstance(again.exception(), LostRaceError)
    assert store.read(held_devices).keys() == {held, "cpu:0", *([wanted, "cpu:1"] if fits else [])}
    if not fits:
        store.write(partial(life.admit, job_id=second.id, devices=[wanted], node="another", at=1.0))
