"""Does the scheduler place by priority, never twice, and tell everybody who waits why?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.engines.base import Gpu, Machine
from leyden.jobs.placement import Size
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Decisions, Running, Snapshot, Waiting, Who

GB = 1_000_000_000
PLAIN = Machine(node="n", cpus=2, memory_bytes=24 * GB)
GPUS = Machine(
    node="n",
    cpus=8,
    memory_bytes=24 * GB,
    gpus=(
        Gpu(index=0, name="NVIDIA A100-SXM4-80GB", memory_bytes=85 * GB),
        Gpu(index=1, name="NVIDIA A100-SXM4-80GB", memory_bytes=85 * GB),
        Gpu(index=2, name="NVIDIA L4", memory_bytes=24 * GB),
    ),
)


def waiting(
    number: int, *, gpus: int = 0, cpus: int = 1, priority: int = 50, model: str = "", memory: int = 0
) -> Waiting:
    size = Size(gpus=gpus, cpus=cpus, ranks=1, gpu_model=model, gpu_memory_bytes=memory)
    return Waiting(who=who(number), priority=priority, size=size)


def who(number: int) -> Who:
    return Who(job_id=f"00000000{number:02}", name="digits", user="ada")


def held(device: str, number: int, since: float = 0.0) -> Running:
    return Running(devices=(device,), who=who(number), priority=50, since=since)


def decided(
    machine: Machine, queue: list[Waiting], taken: list[Running] | None = None, now: float = 190.0
) -> Decisions:
    return decide(Snapshot(now=now, machine=machine, waiting=queue, running=taken or []))


def words(decisions: Decisions) -> dict[str, str]:
    return {key: reason.text for key, reason in decisions.reasons.items()}


def test_a_job_takes_the_lowest_free_devices() -> None:
    assert decided(GPUS, [waiting(1, gpus=1, cpus=2)]).starts == {"0000000001": ("gpu:0", "cpu:0", "cpu:1")}


def test_order_is_priority_then_submit() -> None:
    queue = [waiting(1), waiting(2), waiting(3, priority=60)]
    assert decided(PLAIN, queue).starts == {"0000000003": ("cpu:0",), "0000000001": ("cpu:1",)}


def test_the_reason_names_the_holder() -> None:
    taken = [held("cpu:0", 7), held("cpu:1", 7)]
    decisions = decided(PLAIN, [waiting(8, cpus=2)], taken)
    assert words(decisions) == {"0000000008": "waits for cpu:0–1, held by job 0007 'digits' (ada) for 3m"}


def test_the_reason_says_how_many_of_which_are_missing() -> None:
    taken = [held("cpu:0", 6), held("cpu:1", 7, since=180.0)]
    assert decided(PLAIN, [waiting(8)], taken).reasons["0000000008"].text == (
        "waits for 1 CPU of cpu:0, held by job 0006 'digits' (ada) for 3m; "
        "cpu:1, held by job 0007 'digits' (ada) for less than a minute"
    )


def test_nobody_overtakes_a_bigger_job_that_waits_for_the_same_kind() -> None:
    decisions = decided(PLAIN, [waiting(1, cpus=2), waiting(2)], [held("cpu:0", 9)])
    assert decisions.starts == {}
    assert (
        decisions.reasons["0000000002"].text
        == "waits for CPUs behind job 0001 'digits' (ada), ahead of it in the queue"
    )


def test_a_job_that_needs_another_kind_goes_past() -> None:
    taken = [held(f"gpu:{number}", 9) for number in range(3)]
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
    decisions = decided(GPUS, jobs, [held(device, 99) for device in sorted(taken)])
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
