"""What does the HTTP API say about what a job printed and logged?

As leyden.core.views, but apart from it: each view costs a command that does not ask for it a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
