"""What has a trial left in its run's folder: values of its metrics, what it measured at its rungs, why it failed?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leyden.core.errors import nearest
from leyden.track import facts
from leyden.track.points import RunPoints
from leyden.track.read import summary as summary_of

RUNGS: Final = "rungs.jsonl"
_TAIL_BYTES: Final = 8192
_LONGEST: Final = 300
_NO_MEMORY: Final = ("OutOfMemoryError", "out of memory", "MemoryError", "out-of-memory killer")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a trial measured at a rung."""

    resource: float
    value: float | None  # None: no number
    at: float


def finals(run_dir: Path, names: Sequence[str]) -> list[float | None]:
    """Of each metric what the summary says of it, else its last value; None where there is none. NaN is NaN."""
    summary = facts.read(run_dir / facts.SUMMARY) or {}
    points = RunPoints(run_dir)
    points.refresh(names)
    return [_number(summary[name]) if name in summary else _last(points, name) for name in names]


def bounds(run_dir: Path, name: str) -> tuple[float, float] | None:
    """The least and the greatest value of a metric; None where there is none."""
    points = RunPoints(run_dir)
    points.refresh([name])
    curve = next((points.curve(rank, name) for rank in points.ranks(name)), None)
    if curve is None or not curve.count:
        return None
    found = summary_of(name, curve)
    return found.least, found.greatest


def missing(run_dir: Path, name: str) -> str:
    """What is said of a trial that never logged that metric."""
    points = RunPoints(run_dir)
    points.refresh(())
    known = {one for _, one in points.metrics() if not one.startswith("system/")}
    return f"never logged {name!r}" + (f"; {nearest(name, known)}" if known else ", nor anything else")


def at_rungs(run_dir: Path, name: str) -> list[Measured]:
    """What the trial wrote down there, in order; a line that a crash has torn is left out."""
    found = []
    try:
        text = (run_dir / RUNGS).read_text()
    except OSError:
        return []
    for line in text.splitlines():
        try:
            plain = json.loads(line)
            value = _number(plain["values"].get(name))
            found.append(Measured(resource=float(plain["resource"]), value=value, at=float(plain["at"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def failure(run_dir: Path, attempt: int, message: str) -> str:
    """Why it failed, with the last thing that rank 0 printed, where that is an error's own line."""
    try:
        with (run_dir / "logs" / f"a{attempt}-r0.log").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    told = f"{message}: {last[:_LONGEST]}" if "Error" in last or "Exception" in last else message
    return f"out of memory; {told}" if any(sign in told for sign in _NO_MEMORY) else told


def score(value: float | None) -> float:
    """What rungs compare by; no number is the worst."""
    return math.inf if value is None or math.isnan(value) else value


def _last(points: RunPoints, name: str) -> float | None:
    for rank in points.ranks(name):
        curve = points.curve(rank, name)
        if curve is not None and curve.count:
            return float(curve.points(curve.count - 1, curve.count).values[0])
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
