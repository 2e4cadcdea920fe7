"""Do small jobs go past a big one that waits, and does it start as early as if there were none of them?"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Interval, Running, Snapshot, Waiting
from tests.jobs.lines import GPUS, a_machine, decided, running, said, started, waiting

FOUR = a_machine(4, 8)


def busy(*devices: str, number: int = 1, time_s: float | None = None, lasts: Interval | None = None) -> list[Running]:
    return [running(number, *devices, time_s=time_s, lasts=lasts)]


def test_a_job_that_ends_before_the_reservation_goes_first() -> None:
    taken = busy("gpu:0", "gpu:1", time_s=3600.0)
    queue = [
        waiting(2, gpus=4),
        waiting(3, gpus=1, time_s=7200.0),
        waiting(4, gpus=1),
        waiting(5, gpus=1, time_s=1800.0),
    ]
    decisions = decided(FOUR, queue, taken, now=600.0)
    assert started(decisions) == {5}
    assert said(decisions, 3) == (
        "waits for GPUs behind job 0002 'digits' (ada), ahead of it in the queue; "
        "a job whose --time ends before 01:00 may go first"
    )


def test_a_job_of_any_length_takes_what_the_reserved_job_does_not_need() -> None:
    taken = busy("gpu:0", "gpu:1", time_s=3600.0)
    decisions = decided(FOUR, [waiting(2, gpus=3), waiting(3, gpus=1), waiting(4, gpus=1)], taken)
    assert started(decisions) == {3}  # two come free, and one of the two free ones is spare


def test_where_the_time_is_unknown_nobody_takes_what_the_first_needs() -> None:
    decisions = decided(FOUR, [waiting(2, gpus=4), waiting(3, gpus=1, time_s=1.0)], busy("gpu:0", "gpu:1"))
    assert started(decisions) == set()
    assert said(decisions, 3) == "waits for GPUs behind job 0002 'digits' (ada), ahead of it in the queue"


def test_what_comes_free_with_the_awaited_devices_need_not_be_kept() -> None:
    decisions = decided(FOUR, [waiting(2, gpus=3), waiting(3, gpus=1), waiting(4, gpus=1)], busy("gpu:0", "gpu:1"))
    assert started(decisions) == {3}  # its end frees two: one of the two that are free now is spare


def test_history_says_how_long_the_devices_will_not_be_needed_yet() -> None:
    taken = busy("gpu:0", "gpu:1", lasts=Interval(low=3600.0, high=7200.0))
    queue = [
        waiting(2, gpus=4),
        waiting(3, gpus=1),
        waiting(4, gpus=1, time_s=3500.0),
        waiting(5, gpus=1, time_s=3000.0),
    ]
    assert started(decided(FOUR, queue, taken, now=200.0)) == {5}
    assert started(decided(FOUR, queue, taken, now=3000.0)) == set()  # the hour is over at the same time for all


def test_each_kind_of_device_has_a_line_and_a_head_of_its_own() -> None:
    taken = [*busy("gpu:0", "gpu:1", "gpu:2"), *busy("cpu:0", "cpu:1", number=2)]
    queue = [waiting(3, gpus=2), waiting(4, cpus=8), waiting(5, cpus=2), waiting(6, gpus=1)]
    decisions = decided(GPUS, queue, taken)
    assert started(decisions) == set()
    assert said(decisions, 5).startswith("waits for CPUs behind job 0004")  # else small jobs would keep it waiting
    assert said(decisions, 6).startswith("waits for GPUs behind job 0003")


def test_another_model_of_gpu_is_another_line() -> None:
    decisions = decided(GPUS, [waiting(2, gpus=2, model="A100"), waiting(3, gpus=1)], busy("gpu:0"))
    assert decisions.starts == {"0000000003": ("gpu:2", "cpu:0")}


def test_cpus_that_come_with_the_awaited_gpu_are_counted_on() -> None:
    taken = [running(index, f"gpu:{index}", f"cpu:{index}") for index in range(4)]
    decisions = decided(FOUR, [waiting(8, gpus=1, cpus=2), waiting(9, cpus=3), waiting(10, cpus=1)], taken)
    assert started(decisions) == {9}  # one of the four that are free is kept


jobs = st.tuples(
    st.integers(0, 4),  # GPUs
    st.integers(1, 8),  # CPUs
    st.sampled_from([None, None, 10.0, 40.0, 100.0]),  # declared
    st.integers(1, 100),  # runs really
    st.floats(0, 120),  # arrives
)


@given(
    st.lists(jobs, min_size=1, max_size=5),
    st.lists(jobs, max_size=40),
    st.tuples(st.integers(0, 4), st.integers(1, 8)),
    st.sampled_from([None, Interval(low=5.0, high=20.0), Interval(low=60.0, high=80.0)]),
)
def test_whoever_is_first_in_line_starts(
    before: list[tuple[int, int, float | None, int, float]],
    after: list[tuple[int, int, float | None, int, float]],
    wanted: tuple[int, int],
    lasts: Interval | None,
) -> None:
    """However many come after it. It waits for those that ran before it, no longer than they declared or last."""
    world = World(lasts)
    for gpus, cpus, time_s, runs_s, _ in before:
        world.submit(gpus, cpus, time_s, runs_s)
    world.step(0.0)
    world.line.clear()
    ends = [max(world.ends[one.who.job_id], one.since + (one.time_s or lasting(lasts))) for one in world.taken]
    first = world.submit(*wanted, None, 1000)
    for now in sorted({*(arrives for *_, arrives in after), *(float(t) for t in range(0, 320, 5))}):
        for gpus, cpus, time_s, runs_s, arrives in after:
            if arrives == now:
                world.submit(gpus, cpus, time_s, runs_s)
        world.step(now)
        if first in world.starts:
            break
    assert world.starts[first] <= max([0.0, *ends]) + 5.0


def lasting(lasts: Interval | None) -> float:
    return lasts.low if lasts else 0.0


class World:
    """Jobs come, run and end; each event is followed by a pass."""

    def __init__(self, lasts: Interval | None) -> None:
        self.lasts = lasts
        self.line: list[Waiting] = []
        self.taken: list[Running] = []
        self.ends: dict[str, float] = {}
        self.starts: dict[str, float] = {}
        self._runs: dict[str, float] = {}
        self._numbers = iter(range(10_000))

    def submit(self, gpus: int, cpus: int, time_s: float | None, runs_s: float) -> str:
        job = waiting(next(self._numbers), gpus=gpus, cpus=cpus, time_s=time_s, lasts=self.lasts)
        self.line.append(job)
        self._runs[job.who.job_id] = min(runs_s, time_s or math.inf)
        return job.who.job_id

    def step(self, now: float) -> None:
        ended = sorted({self.ends[one.who.job_id] for one in self.taken if self.ends[one.who.job_id] <= now})
        for at in [*ended, now]:
            self.taken = [one for one in self.taken if self.ends[one.who.job_id] > at]
            self._pass(at)

    def _pass(self, now: float) -> None:
        starts = decide(Snapshot(now=now, machine=FOUR, waiting=self.line, running=self.taken)).starts
        for job in self.line:
            if devices := starts.get(job.who.job_id):
                begins = running(int(job.who.job_id), *devices, since=now, time_s=job.time_s, lasts=job.lasts)
                self.taken.append(begins)
                self.starts[job.who.job_id] = now
                self.ends[job.who.job_id] = now + self._runs[job.who.job_id]
        self.line = [job for job in self.line if job.who.job_id not in starts]
        held = [device for one in self.taken for device in one.devices]
        assert len(held) == len(set(held))


@pytest.mark.parametrize("seed", range(40))
def test_nobody_waits_for_what_began_after_it_came_to_stand_first(seed: int) -> None:
    """Jobs without an end take all that is spare, while those that ran before the first in line end in any order."""
    rng, eight = random.Random(seed), a_machine(8, 64)
    gpus = [f"gpu:{index}" for index in range(8)]
    before: list[Running] = []
    while gpus and rng.random() < 0.85:
        size = min(len(gpus), rng.choice([1, 2, 2, 3]))
        before.append(running(len(before), *(gpus.pop() for _ in range(size)), since=float(len(before))))
    first, after = waiting(10, gpus=rng.randint(min(8, len(gpus) + 1), 8)), list[Running]()
    for moment in range(60):
        stream = [waiting(1000 + 10 * moment + each, gpus=rng.choice([1, 1, 2])) for each in range(3)]
        decisions = decided(eight, [first, *stream], [*before, *after], now=100.0 + moment)
        if 10 in started(decisions):
            return
        begun = [running(int(key), *devices, since=100.0 + moment) for key, devices in decisions.starts.items()]
        after += begun
        if not begun:
            before.remove(rng.choice(before))  # fails where there is none left to wait for


def test_a_reservation_is_not_put_off_by_jobs_that_come_one_after_the_other() -> None:
    """A stream of jobs of ten seconds, on two machines' worth of them: the big one waits for the hour, no longer."""
    taken = busy("gpu:0", time_s=3600.0)
    big, stream = waiting(2, gpus=4), waiting(3, gpus=1, time_s=10.0)
    assert started(decided(FOUR, [big, stream], taken, now=3580.0)) == {3}
    assert started(decided(FOUR, [big, replace(stream, time_s=30.0)], taken, now=3580.0)) == set()
    late = decided(FOUR, [big, stream], taken, now=3700.0)  # the holder is over its time: it ends any moment
    assert started(late) == set()
