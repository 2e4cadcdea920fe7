"""When must an attempt end at the latest, and what is said then?

Counted from when the worker took it, not from its first line: its devices are held meanwhile, also while an
environment is built, and the scheduler has promised them to others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

from leyden.core.units import format_duration
from leyden.engines.base import Launch


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """`at` is a time of the monotonic clock, inf where there is no limit."""

    at: float
    message: str

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self.at

    @property
    def wall(self) -> float | None:
        """In seconds since 1970, as LEYDEN_DEADLINE says it."""
        return None if self.at == inf else time.time() + self.at - time.monotonic()


def deadline_of(launch: Launch, begun: float) -> Deadline:
    """The first of the limits that the job was given.

    `budget_s` is how long the attempt may take until the job has cost its limit.
    """
    limits = []
    if launch.time_s is not None:
        limits.append((launch.time_s, f"stopped at its time limit of {launch.time_s:g} s"))
    if launch.budget_s is not None:
        paid = f"this attempt had {format_duration(launch.budget_s)}" if launch.budget_s > 0 else "nothing was left"
        limits.append((launch.budget_s, f"stopped at its cost limit of {launch.cost_limit:g}: {paid}"))
    seconds, message = min(limits, default=(inf, ""))
    return Deadline(at=begun + seconds, message=message)
