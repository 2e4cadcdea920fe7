"""Machines, and jobs that wait or run, as a snapshot holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leyden.engines.base import Gpu, Machine
from leyden.jobs.placement import Size
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Decisions, Interval, Quota, Running, Snapshot, Waiting, Who

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


def a_machine(gpus: int, cpus: int) -> Machine:
    """All GPUs alike."""
    alike = tuple(Gpu(index=index, name="NVIDIA A100", memory_bytes=85 * GB) for index in range(gpus))
    return Machine(node="n", cpus=cpus, memory_bytes=24 * GB, gpus=alike)


def who(number: int, user: str = "ada") -> Who:
    return Who(job_id=f"{number:010}", name="digits", user=user)


def waiting(
    number: int,
    *,
    gpus: int = 0,
    most: int = 0,
    share: int = 1,
    cpus: int = 1,
    priority: int = 50,
    model: str = "",
    memory: int = 0,
    user: str = "ada",
    time_s: float | None = None,
    lasts: Interval | None = None,
) -> Waiting:
    size = Size(gpus=gpus, cpus=cpus, ranks=1, gpu_model=model, gpu_memory_bytes=memory, gpus_most=most, share=share)
    return Waiting(who=who(number, user), priority=priority, size=size, time_s=time_s, lasts=lasts)


def running(
    number: int,
    *devices: str,
    since: float = 0.0,
    priority: int = 50,
    user: str = "ada",
    time_s: float | None = None,
    lasts: Interval | None = None,
    grace_s: float | None = None,
    stops: bool = False,
    makes_way: bool = False,
) -> Running:
    return Running(
        devices=devices,
        who=who(number, user),
        priority=priority,
        since=since,
        time_s=time_s,
        lasts=lasts,
        grace_s=grace_s,
        stops=stops,
        makes_way=makes_way,
    )


def decided(
    machine: Machine,
    queue: Sequence[Waiting],
    taken: Sequence[Running] = (),
    now: float = 190.0,
    quotas: Mapping[str, Quota] | None = None,
    used: Mapping[str, float] | None = None,
) -> Decisions:
    return decide(
        Snapshot(now=now, machine=machine, waiting=queue, running=taken, quotas=quotas or {}, used=used or {})
    )


def words(decisions: Decisions) -> dict[str, str]:
    return {key: reason.text for key, reason in decisions.reasons.items()}


def said(decisions: Decisions, number: int) -> str:
    return decisions.reasons[f"{number:010}"].text


def started(decisions: Decisions) -> set[int]:
    return {int(key) for key in decisions.starts}
