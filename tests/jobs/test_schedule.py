"""Does the scheduler place by priority, never twice, and tell everybody who waits why?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.core.reasons import Reason, ReasonCode
from leyden.engines.base import Machine
from leyden.jobs.snapshot import Quota, Running, Waiting
from tests.jobs.lines import GB, GPUS, PLAIN, a_machine, decided, running, said, started, waiting, words


def test_a_job_takes_the_lowest_free_devices() -> None:
    assert decided(GPUS, [waiting(1, gpus=1, cpus=2)]).starts == {"0000000001": ("gpu:0", "cpu:0", "cpu:1")}


def test_order_is_priority_then_submit() -> None:
    queue = [waiting(1), waiting(2), waiting(3, priority=60)]
    assert decided(PLAIN, queue).starts == {"0000000003": ("cpu:0",), "0000000001": ("cpu:1",)}


def test_the_reason_names_the_holder() -> None:
    taken = [running(7, "cpu:0"), running(7, "cpu:1")]
    decisions = decided(PLAIN, [waiting(8, cpus=2)], taken)
    assert words(decisions) == {"0000000008": "waits for cpu:0–1, held by job 0007 'digits' (ada) for 3m"}


def test_the_reason_says_how_many_of_which_are_missing() -> None:
    taken = [running(6, "cpu:0"), running(7, "cpu:1", since=180.0)]
    assert decided(PLAIN, [waiting(8)], taken).reasons["0000000008"].text == (
        "waits for 1 CPU of cpu:0, held by job 0006 'digits' (ada) for 3m; "
        "cpu:1, held by job 0007 'digits' (ada) for less than a minute"
    )
    taken = [running(6, "gpu:0", "gpu:1", *(f"cpu:{number}" for number in range(8)))]
    assert said(decided(GPUS, [waiting(8, gpus=2, cpus=2)], taken), 8).startswith("waits for 1 GPU and 2 CPUs of gpu:0")


def test_nobody_overtakes_a_bigger_job_that_waits_for_the_same_kind() -> None:
    decisions = decided(PLAIN, [waiting(1, cpus=2), waiting(2)], [running(9, "cpu:0")])
    assert decisions.starts == {}
    assert (
        decisions.reasons["0000000002"].text
        == "waits for CPUs behind job 0001 'digits' (ada), ahead of it in the queue"
    )


def test_a_job_that_needs_another_kind_goes_past() -> None:
    taken = [running(9, f"gpu:{number}") for number in range(3)]
    assert decided(GPUS, [waiting(1, gpus=1), waiting(2)], taken).starts == {"0000000002": ("cpu:0",)}


@pytest.mark.parametrize(
    ("model", "memory", "device"), [("l4", 0, "gpu:2"), ("", 40 * GB, "gpu:0"), ("A100", 0, "gpu:0"), ("", 0, "gpu:0")]
)
def test_gpus_are_chosen_by_model_and_memory(model: str, memory: int, device: str) -> None:
    starts = decided(GPUS, [waiting(1, gpus=1, model=model, memory=memory)]).starts
    assert starts["0000000001"][0] == device


def test_a_job_the_machine_can_no_longer_run_says_so_and_blocks_nobody() -> None:
    decisions = decided(PLAIN, [waiting(1, gpus=8), waiting(2)])
    assert decisions.starts == {"0000000002": ("cpu:0",)}
    assert decisions.reasons["0000000001"].text.startswith(
        "cannot start: the job asks for 8 GPUs; this machine has no GPU"
    )


def test_the_reason_says_until_when_if_the_holder_declared_it() -> None:
    taken = [running(7, "cpu:0", time_s=3601.0), running(8, "cpu:1", since=100.0, time_s=100_000.0)]
    assert said(decided(PLAIN, [waiting(9)], taken), 9) == (
        "waits for 1 CPU of cpu:0, held by job 0007 'digits' (ada) for 3m, until 01:01 at the latest; "
        "cpu:1, held by job 0008 'digits' (ada) for 1m, until 2 January 03:49 at the latest"
    )


def test_reasons_do_not_change_with_the_seconds() -> None:
    taken = [running(7, "cpu:0", time_s=3600.0), running(8, "cpu:1")]
    queue = [waiting(number, cpus=1 + number % 2) for number in range(10, 20)]
    assert words(decided(PLAIN, queue, taken, now=180.0)) == words(decided(PLAIN, queue, taken, now=239.0))


def test_each_is_told_the_job_before_it_so_that_one_start_changes_few_reasons() -> None:
    taken = [running(7, "cpu:0"), running(8, "cpu:1")]
    queue = [waiting(number) for number in range(10, 20)]
    before, after = words(decided(PLAIN, queue, taken)), words(decided(PLAIN, queue[1:], taken))
    assert sum(after[key] != before[key] for key in after) == 1


def test_who_may_not_start_blocks_nobody_and_stands_in_no_line() -> None:
    blocked = Reason(code=ReasonCode.AFTER, text="comes after job 0001, which has not succeeded yet")
    queue = [
        replace(waiting(1), blocked=blocked),
        replace(waiting(2), not_before=200.0),
        waiting(3, cpus=2),
        waiting(4),
    ]
    decisions = decided(PLAIN, queue, now=190.0)
    assert started(decisions) == {3}
    assert decisions.order == ["0000000004"]
    assert [reason.code for reason in decisions.reasons.values()] == ["after", "not_yet", "devices"]
    assert 2 in started(decided(PLAIN, queue, now=200.0))


def test_a_user_holds_no_more_than_their_quota_and_others_go_past() -> None:
    queue = [waiting(2, gpus=1), waiting(3, gpus=1), waiting(4, gpus=1, user="bob"), waiting(5, gpus=2)]
    decisions = decided(GPUS, queue, [running(1, "gpu:0", "cpu:0")], quotas={"ada": Quota(gpus=1), "*": Quota(cpus=4)})
    assert started(decisions) == {4}
    assert decisions.reasons["0000000002"].code is ReasonCode.QUOTA
    assert said(decisions, 2) == "asks for 1 GPU; ada holds 1 of a quota of 1"
    assert said(decisions, 5) == "asks for 2 GPUs, more than the quota of 1 that ada has"


def test_jobs_of_one_pass_count_against_the_quota_of_everybody() -> None:
    queue = [waiting(number, cpus=2, user="bob") for number in range(3)]
    assert started(decided(GPUS, queue, quotas={"*": Quota(cpus=4)})) == {0, 1}
    assert started(decided(GPUS, queue, quotas={"*": Quota(cpus=4), "bob": Quota()})) == {0, 1, 2}


def test_a_pass_over_ten_thousand_jobs_does_not_try_each_of_them() -> None:
    """Of hundreds of sizes, times and users; measured at 60 ms, so that a second means that something is quadratic."""
    queue = [
        waiting(number, gpus=number % 9, cpus=1 + number % 32, time_s=number % 500 + 1.0, user=f"user{number % 50}")
        for number in range(10, 10_010)
    ]
    taken = [running(index, f"gpu:{index}", f"cpu:{index}", time_s=3600.0, grace_s=30.0) for index in range(7)]
    begin = time.process_time()
    decisions = decided(a_machine(8, 64), queue, taken, quotas={"user1": Quota(gpus=1)})
    assert time.process_time() - begin < 1.0
    assert len(decisions.reasons) + len(decisions.starts) == 10_000
    assert decisions.expected


sizes = st.tuples(
    st.integers(0, 4), st.integers(1, 9), st.integers(0, 100), st.sampled_from(["", "a100", "l4", "h100"])
)
all_devices = [*(f"gpu:{number}" for number in range(3)), *(f"cpu:{number}" for number in range(8))]


@given(st.lists(sizes, max_size=12), st.sets(st.sampled_from(all_devices)))
def test_no_device_is_given_twice_and_everybody_who_waits_has_a_reason(
    queue: list[tuple[int, int, int, str]], taken: set[str]
) -> None:
    jobs = [
        waiting(number, gpus=gpus, cpus=cpus, priority=priority, model=model)
        for number, (gpus, cpus, priority, model) in enumerate(queue)
    ]
    decisions = decided(GPUS, jobs, [running(99, device) for device in sorted(taken)])
    given_away = [device for devices in decisions.starts.values() for device in devices]
    assert len(given_away) == len(set(given_away))
    assert not set(given_away) & taken
    assert set(given_away) <= set(all_devices)
    assert decisions.starts.keys() | decisions.reasons.keys() == {job.who.job_id for job in jobs}
    assert not decisions.starts.keys() & decisions.reasons.keys()
    assert all(decisions.reasons.values())
    for job in jobs:
        if devices := decisions.starts.get(job.who.job_id):
            assert sum(one.startswith("gpu") for one in devices) == job.size.gpus
            assert sum(one.startswith("cpu") for one in devices) == job.size.cpus


def test_an_elastic_job_takes_what_is_free_up_to_its_most() -> None:
    machine = a_machine(8, 16)
    assert started_with(machine, waiting(1, gpus=2, most=6, cpus=4)) == (6, 12)
    assert started_with(machine, waiting(1, gpus=2, most=20, cpus=4)) == (8, 16)
    assert started_with(machine, waiting(1, gpus=2, most=6, cpus=16)) == (6, 16)
    taken = [running(9, *(f"gpu:{number}" for number in range(5)), "cpu:0")]
    assert started_with(machine, waiting(1, gpus=2, most=6, cpus=4), taken) == (3, 6)


def test_an_elastic_job_waits_for_its_fewest_and_takes_no_more_than_its_quota() -> None:
    machine = a_machine(4, 8)
    taken = [running(9, "gpu:0", "gpu:1", "gpu:2", "cpu:0")]
    assert "waits for 1 GPU of gpu:0–2" in said(decided(machine, [waiting(1, gpus=2, most=4)], taken), 1)
    assert started_with(machine, waiting(1, gpus=1, most=4, cpus=2), quota=Quota(gpus=3, cpus=4)) == (3, 4)
    assert started_with(machine, waiting(1, gpus=1, most=4), quota=Quota(gpus=1)) == (1, 1)


def test_an_elastic_job_leaves_alone_what_is_kept_for_the_first_in_line() -> None:
    machine = a_machine(4, 8)
    taken = [running(9, "gpu:0", "gpu:1", "cpu:0", time_s=1000.0)]
    queue = [waiting(1, gpus=3, priority=60), waiting(2, gpus=1, most=4)]
    assert decided(machine, queue, taken).starts == {"0000000002": ("gpu:2", "cpu:1")}


def started_with(
    machine: Machine, job: Waiting, taken: Sequence[Running] = (), quota: Quota | None = None
) -> tuple[int, int]:
    devices = decided(machine, [job], taken, quotas={"ada": quota} if quota else None).starts[job.who.job_id]
    return sum(one.startswith("gpu:") for one in devices), sum(one.startswith("cpu:") for one in devices)
