"""What does the HTTP API say about jobs? Plain dataclasses that the server fills and the client reads.

Times are seconds since 1970 (UTC); sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from leyden.core.origin import Origin


@dataclass(frozen=True, kw_only=True)
class JobView:
    """One job as `leyden ps` shows it."""

    id: str
    name: str
    user: str
    state: str
    reason: str  # why it waits, or how it ended; empty while it runs
    priority: int
    attempt: int  # number of the current or last attempt, 0 before the first
    node: str
    devices: list[str]  # e.g. ["gpu:0"] or ["cpu:0", "cpu:1"], of the current or last attempt
    created_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    run_dir: str
    progress: float | None = None  # 0 to 1, while it runs; None: nobody knows
    eta_s: float | None = None  # so long the rest takes, at the rate of this attempt


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One try at running a job."""

    number: int
    uid: str
    node: str
    devices: list[str]
    pid: int | None
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    outcome: str


@dataclass(frozen=True, kw_only=True)
class EventView:
    """One change of a job's state."""

    at: float
    before: str
    after: str
    who: str
    why: str


@dataclass(frozen=True, kw_only=True)
class JobDetail:
    """One job as `leyden show` shows it."""

    job: JobView
    spec: dict[str, Any]
    code: str  # content hash of the captured tree, "" where none was captured
    attempts: list[AttemptView]
    events: list[EventView]
    commit: Origin | None = None  # where that tree comes from, None where from no commit
    cost: float | None = None  # of all its attempts so far, None where the server knows no prices


@dataclass(frozen=True, kw_only=True)
class MetricView:
    """One metric as `leyden metrics` shows it: how many points and the last, least and greatest of them."""

    name: str
    count: int
    last_step: int
    last: float
    least: float
    greatest: float


@dataclass(frozen=True, kw_only=True)
class SeriesView:
    """The points of one metric, at most as many as asked for."""

    name: str
    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TailView:
    """Where the last lines of a log begin, and how long it is."""

    offset: int
    size_bytes: int


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
class HealthView:
    """Whether the server lives, and which it is."""

    version: str
    pid: int
    started_at: float
    home: str


@dataclass(frozen=True, kw_only=True)
class HolderView:
    """A job that holds devices another one waits for."""

    id: str
    name: str
    user: str
    devices: list[str]
    since: float
    until: float | None  # at the latest, where it declared a time
    stops: bool = False  # it has been asked to end


@dataclass(frozen=True, kw_only=True)
class WhyView:
    """Why a job waits."""

    id: str
    name: str
    state: str
    code: str  # of core.reasons; "" where it does not wait
    text: str
    priority: int
    needs: dict[str, int]  # gpus, cpus
    free: dict[str, int] = field(default_factory=dict)
    holders: list[HolderView] = field(default_factory=list)
    position: int | None = None  # in line, from 1
    waiting: int = 0  # jobs in line
    standing: str = ""  # "priority 50, −12 for 2.3 times the fair share"
    starts_after: float | None = None  # estimate
    starts_before: float | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactView:
    """A file that a job left, in its newest version or that of the attempt asked about."""

    path: str  # relative to artifacts/
    attempt: int  # that left this version
    size_bytes: int
    modified_at: float
    mode: int
    sha256: str  # "" where nobody has read it yet, as the job may still write to it


@dataclass(frozen=True, kw_only=True)
class RefusedView:
    """What lies under artifacts/ and is not kept."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ArtifactsView:
    """The artifacts of a job."""

    job: str
    artifacts: list[ArtifactView] = field(default_factory=list)
    refused: list[RefusedView] = field(default_factory=list)
    goes_at: float | None = None  # when the server's rule lets them go, or has; None: it does not
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointFileView:
    """One file of a checkpoint."""

    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class CheckpointView:
    """A checkpoint of a job. `epoch` and `step` are -1 where its manifest cannot be read."""

    job: str
    name: str
    epoch: int
    step: int
    created_at: float
    size_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)
    pinned: bool = False
    names: list[str] = field(default_factory=list)  # links to it, e.g. last
    files: list[CheckpointFileView] = field(default_factory=list)
    damaged: bool = False  # files that its manifest names are missing, or of another size
    goes_at: float | None = None  # when the server's rule lets it go
    stays: str = ""  # why that rule does not


@dataclass(frozen=True, kw_only=True)
class QuotaView:
    """What a user may hold ("*": whoever has no quota of their own), holds, and has used of late."""

    user: str
    gpus: int | None  # None: no limit
    cpus: int | None
    held_gpus: int
    held_cpus: int
    used_device_s: float  # halved every day
    share: float  # of what all have used
