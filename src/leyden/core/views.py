"""What does the HTTP API say about jobs? Plain dataclasses that the server fills and the client reads.

Times are seconds since 1970 (UTC); sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
class HealthView:
    """Whether the server lives, and which it is."""

    version: str
    pid: int
    started_at: float
    home: str
