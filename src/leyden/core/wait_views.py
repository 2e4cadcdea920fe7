"""What does the HTTP API say about a job that waits?

As leyden.core.views, but apart from it: each view costs a command that does not ask for it a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
    needs: dict[str, int]  # gpus, cpus; gpus_most of an elastic job, share of one that takes a part of a GPU
    free: dict[str, int] = field(default_factory=dict)  # the same; parts: of GPUs that are split in `share`
    holders: list[HolderView] = field(default_factory=list)
    position: int | None = None  # in line, from 1
    waiting: int = 0  # jobs in line
    standing: str = ""  # "priority 50, −12 for 2.3 times the fair share"
    starts_after: float | None = None  # estimate
    starts_before: float | None = None
