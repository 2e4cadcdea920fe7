"""How much of a run is done, and how long does the rest take?

A share comes from what the program says in `progress` (the Trainer in `system/progress`), else from its steps or epochs
and the most of them in its config. What is left is reckoned at the rate of this attempt, since the place where it
began: an attempt that went on from a checkpoint has not done what lies before that.
"""

from __future__ import annotations

import math
from typing import Final

from leyden.core.filter import Found
from leyden.server.tracking.book import Entry
from leyden.server.tracking.stats import Begun, RunStats

OVERDUE_S: Final = 10.0  # what was to be over for so long is not reckoned with any more
_COUNTED: Final = (("step", "max_steps"), ("trainer/global_step", "max_steps"), ("epoch", "max_epochs"))


def progress_of(entry: Entry, now: float) -> tuple[float | None, float | None]:
    """How much is done, 0 to 1, and how many seconds the rest takes; None where nobody knows."""
    attempt = entry.job.attempt if entry.job is not None else None
    return reckon(entry, attempt, entry.started_at if entry.state == "running" else None, now)


def reckon(
    entry: Entry, attempt: int | None, started_at: float | None, now: float
) -> tuple[float | None, float | None]:
    """The same for that attempt of a job; `started_at` is None where it does not run."""
    for name, most in _sources(entry):
        reached = _positive(entry.metric(name))
        if reached is not None:
            share = min(1.0, reached / most)
            begun = entry.stats.begun(name) if isinstance(entry.stats, RunStats) else None
            known = begun is not None and attempt in (None, begun.attempt)
            return share, _left_s(begun, started_at, most, now) if begun and known and started_at else None
    return None, None


def _sources(entry: Entry) -> list[tuple[str, float]]:
    """Metrics that may tell, each with what it is when all is done."""
    found = [("system/progress", 1.0), ("progress", 1.0)]
    for metric, limit in _COUNTED:
        most = _positive(entry.config.get(limit, entry.config.get(f"trainer.{limit}")))
        if most is not None:
            found.append((metric, most))
    return found


def _left_s(begun: Begun, started_at: float, most: float, now: float) -> float | None:
    at, value = begun.at, begun.value
    if begun.last <= value and begun.attempt == 1:
        at, value = started_at, 0.0  # there is one point, told at the end of something
    if begun.last <= value or begun.last_at <= at:
        return None
    left_s = begun.last_at + (begun.last_at - at) * max(0.0, most - begun.last) / (begun.last - value) - now
    return max(0.0, left_s) if left_s > -OVERDUE_S else None


def _positive(value: Found) -> float | None:
    good = isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if good else None  # type: ignore[arg-type]
