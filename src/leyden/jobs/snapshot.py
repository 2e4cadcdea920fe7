"""What does the scheduler see, and what does it answer? Plain data on both sides; times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from leyden.core.ids import short_id
from leyden.core.reasons import Reason
from leyden.engines.base import Machine
from leyden.jobs.placement import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Who:
    """What messages say of a job."""

    job_id: str
    name: str
    user: str

    def __str__(self) -> str:
        return f"job {short_id(self.job_id)} {self.name!r} ({self.user})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A time, or a length of time, in seconds, that is not known exactly."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A job in the queue. Ids sort by the time of submit."""

    who: Who
    priority: int
    size: Size
    time_s: float | None = None  # its declared limit
    lasts: Interval | None = None  # how long such jobs ran before, None where nothing is known
    not_before: float | None = None
    blocked: Reason | None = None  # it may not start whatever is free: a job before it has not succeeded
    after: tuple[str, ...] = ()  # these, if they may succeed yet
    says: str = ""  # why it waits, as it stands on record


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A job that holds devices."""

    who: Who
    priority: int
    devices: tuple[str, ...]
    since: float
    time_s: float | None = None
    lasts: Interval | None = None
    grace_s: float | None = None  # None: it may not be preempted
    stops: bool = False  # it has been asked to end
    makes_way: bool = False  # and that for a job of higher priority


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """The most a user may hold at a time; None is no limit."""

    gpus: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a user stands beside the others who have jobs."""

    times: float  # what they used of late, over the equal share
    points: int  # added to the priority of their jobs: below 0 for who used more than that


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that decisions are made from."""

    now: float
    machine: Machine
    waiting: Sequence[Waiting]
    running: Sequence[Running]
    used: Mapping[str, float] = field(default_factory=dict)  # user → device-seconds of late, decayed
    quotas: Mapping[str, Quota] = field(default_factory=dict)  # "*" for who has none of their own
    zone: tzinfo | None = UTC  # in which times of day are told; None is the machine's own


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What is to be done, and what everybody who waits is told."""

    starts: dict[str, tuple[str, ...]] = field(default_factory=dict)  # job → its devices
    preempts: dict[str, str] = field(default_factory=dict)  # job to be stopped → job it makes way for
    reasons: dict[str, Reason] = field(default_factory=dict)  # of every job that does not start
    order: list[str] = field(default_factory=list)  # who stands in line for devices, first to last
    expected: dict[str, Interval] = field(default_factory=dict)  # when those will start, as far as that can be said
    standings: dict[str, Standing] = field(default_factory=dict)  # of every user with jobs
