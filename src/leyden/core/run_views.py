"""What does the HTTP API say about runs? Plain dataclasses, as in views.py.

Numbers that JSON has not travel as the words "nan", "inf" and "-inf".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Number = float | str
Cell = float | str | bool | None


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One row of the table of runs: a job's run, or one without a job."""

    id: str
    job_id: str | None
    name: str
    user: str
    project: str
    state: str  # a job's state; of other runs running, finished, failed, killed
    reason: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    tags: list[str]
    note: str
    archived: bool
    devices: list[str]
    progress: float | None  # 0 to 1; None: nobody knows
    eta_s: float | None
    values: dict[str, Cell] = field(default_factory=dict)  # of the columns that were asked for and that it has


@dataclass(frozen=True, kw_only=True)
class SpreadView:
    """The values of one column in a group; of words only how many there are."""

    count: int
    min: Number | None = None
    mean: Number | None = None
    max: Number | None = None


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """Runs that have the same values in the columns that group them."""

    key: dict[str, Cell]
    count: int
    values: dict[str, SpreadView] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunsView:
    """A page of the table: rows, or groups where these were asked for. `total` counts all of them."""

    total: int
    version: int  # grows with every change of any run
    rows: list[RunView] = field(default_factory=list)
    groups: list[GroupView] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NameView:
    """A name, and how many runs have it."""

    name: str
    runs: int


@dataclass(frozen=True, kw_only=True)
class NamesView:
    """What columns there can be; the most common first."""

    metrics: list[NameView]
    config: list[NameView]
    attributes: list[str]


@dataclass(frozen=True, kw_only=True)
class RunMetricView:
    """One metric of a run, of the lowest rank that logged it; `ranks` are all that did, -1 is the worker."""

    name: str
    ranks: list[int]
    count: int
    last_step: int
    last: Number
    least: Number
    greatest: Number


@dataclass(frozen=True, kw_only=True)
class MediaNameView:
    """Pictures, tables or texts of one name."""

    kind: str
    name: str
    steps: list[int]


@dataclass(frozen=True, kw_only=True)
class RunDetailView:
    """All about one run but its points."""

    run: RunView
    path: str
    config: dict[str, Any]
    summary: dict[str, Any]
    metrics: list[RunMetricView]
    media: list[MediaNameView]
    dropped_names: int  # metrics that were left out, as there are too many


@dataclass(frozen=True, kw_only=True)
class CurveView:
    """A picture of one metric of one rank.

    `level` 0: `values` are the points themselves. Else each entry stands for `per` points from that step on, the first
    and last one for fewer, and `min`, `mean`, `max` are given. They leave NaN out; `nan` counts these.
    """

    name: str
    rank: int
    x: str
    count: int  # points within the bounds
    level: int
    per: int
    steps: list[int]
    times: list[Number]
    values: list[Number]
    min: list[Number]
    mean: list[Number]
    max: list[Number]
    nan: int
    ordered: bool  # whether x never runs backwards
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class MediumView:
    """One picture, table or text; `file` is its path below /api/runs/{ref}/files/."""

    kind: str
    name: str
    step: int
    at: float
    file: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class PushedView:
    """How long a file of a run is on the server now: what comes next begins there."""

    size_bytes: int
