"""What does the HTTP API say about jobs? Plain dataclasses that the server fills and the client reads.

Times are seconds since 1970 (UTC); sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
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
class HealthView:
    """Whether the server lives, and which it is."""

    version: str
    pid: int
    started_at: float
    home: str
