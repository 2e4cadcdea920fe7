"""What does the HTTP API say about a machine: who holds what, and who may?

As leyden.core.views, but apart from it: each view costs a command that does not ask for it a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass

from leyden.core.views import JobView


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """One GPU of the machine."""

    index: int
    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class MachineView:
    """What a machine has, and which job holds each device."""

    node: str
    cpus: int
    memory_bytes: int
    gpus: list[GpuView]
    held: dict[str, str]  # device -> job id


@dataclass(frozen=True, kw_only=True)
class GpuTop:
    """One GPU just now: who has it, and how busy it is. None: not known, as before the first sample of its job."""

    index: int
    name: str
    memory_bytes: int
    job: str  # "" where it is free
    job_name: str
    user: str
    use_percent: float | None
    used_bytes: float | None
    power_w: float | None
    idle_s: float | None  # for so long it has been held and used less than 5 %


@dataclass(frozen=True, kw_only=True)
class JobTop:
    """One job that holds devices, and what its processes use."""

    id: str
    name: str
    user: str
    devices: list[str]
    started_at: float | None
    cpu_percent: float | None  # 400 is four CPUs busy
    memory_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class TopView:
    """A machine just now, and the head of its queue."""

    at: float
    node: str
    cpus: int
    cpus_held: int
    memory_bytes: int
    gpus: list[GpuTop]
    jobs: list[JobTop]
    waiting: list[JobView]  # the first ones in line
    waiting_count: int


@dataclass(frozen=True, kw_only=True)
class QuotaView:
    """What a user may hold ("*": whoever has no quota of their own), holds, and has used of late."""

    user: str
    gpus: int | None  # None: no limit
    cpus: int | None
    held_gpus: float  # 1.25 with a quarter of one
    held_cpus: int
    used_device_s: float  # halved every day
    share: float  # of what all have used
