"""How is the record of a run read back as series?

Later attempts resume from a checkpoint and log some steps again; what the earlier attempt logged from that step on
belongs to weights that were thrown away, so the later attempt's points replace them.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import warnings
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from leyden.core.errors import NotFoundError, nearest
from leyden.core.views import MetricView, SeriesView
from leyden.track import frames

_FILE = re.compile(r"a(\d+)-(?:r(\d+)|w)\.frames$")
_WORKER = 1 << 30  # after every rank: what ranks say of themselves goes first


@dataclass
class Series:
    """The points of one metric in the order they were logged."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def extend(self, steps: array[int], times: array[float], values: array[float]) -> None:
        """Append points."""
        self.steps.extend(steps)
        self.times.extend(times)
        self.values.extend(values)

    def before(self, step: int) -> Series:
        """Only the points of earlier steps."""
        return self._take([index for index, one in enumerate(self.steps) if one < step])

    def in_time(self) -> Series:
        """In the order they were logged, which frames of different key sets do not keep."""
        times = self.times
        if all(map(operator.le, times, itertools.islice(times, 1, None))):
            return self
        return self._take(sorted(range(len(times)), key=times.__getitem__))

    def _take(self, keep: list[int]) -> Series:
        return Series(
            array("q", [self.steps[index] for index in keep]),
            array("d", [self.times[index] for index in keep]),
            array("d", [self.values[index] for index in keep]),
        )


def read_run(run_dir: Path) -> dict[str, Series]:
    """Every metric of the run, by name. A metric is read from the lowest rank that logged it."""
    ranks: dict[int, list[tuple[int, Path]]] = {}
    for path in (run_dir / "metrics").glob("*.frames"):
        if match := _FILE.match(path.name):
            ranks.setdefault(int(match.group(2) or _WORKER), []).append((int(match.group(1)), path))
    run: dict[str, Series] = {}
    for rank in sorted(ranks):
        for name, series in _read_attempts([path for _, path in sorted(ranks[rank])]).items():
            run.setdefault(name, series)
    return run


def read_metrics(run_dir: Path) -> list[MetricView]:
    """One line a metric, by name; least and greatest leave NaN out."""
    return [_summary(name, series) for name, series in sorted(read_run(run_dir).items())]


def read_series(run_dir: Path, name: str, *, max_points: int = 1000) -> SeriesView:
    """The points of one metric; where there are more than `max_points`, the extremes of each stretch."""
    run = read_run(run_dir)
    if name not in run:
        raise NotFoundError(
            asked=f"metric {name!r}",
            found=f"this run logged {len(run)} metrics, not this one",
            do=f"Check the name: {nearest(name, run)}" if run else "Wait until the run has logged something.",
        )
    series = run[name]
    keep = _thin(series.values, max_points)
    return SeriesView(
        name=name,
        steps=[series.steps[index] for index in keep],
        times=[series.times[index] for index in keep],
        values=[series.values[index] for index in keep],
    )


def _read_attempts(paths: list[Path]) -> dict[str, Series]:
    whole: dict[str, Series] = {}
    for path in paths:
        for name, series in _read_file(path).items():
            if name in whole:
                kept = whole[name].before(min(series.steps))
                kept.extend(series.steps, series.times, series.values)
                whole[name] = kept
            else:
                whole[name] = series
    return whole


def _read_file(path: Path) -> dict[str, Series]:
    found: dict[str, Series] = {}
    data = path.read_bytes()
    for part in frames.decode(data):
        if isinstance(part, frames.Damage):
            if part.offset + part.size_bytes < len(data):  # a torn tail is a frame being written
                warnings.warn(
                    f"{path}: {part.size_bytes} bytes at {part.offset} are damaged; their points are left out",
                    stacklevel=2,
                )
            continue
        for name, values in zip(part.keys, part.values, strict=True):
            if part.steps:
                found.setdefault(name, Series()).extend(part.steps, part.times, values)
    return {name: series.in_time() for name, series in found.items()}


def _summary(name: str, series: Series) -> MetricView:
    numbers = [value for value in series.values if not math.isnan(value)] or [math.nan]
    return MetricView(
        name=name,
        count=len(series.values),
        last_step=series.steps[-1],
        last=series.values[-1],
        least=min(numbers),
        greatest=max(numbers),
    )


def _thin(values: array[float], most: int) -> list[int]:
    """Indices to draw: all, or the least and the greatest of each of `most / 2` stretches, the first and the last."""
    count = len(values)
    if count <= most:
        return list(range(count))
    stretches = max(1, (most - 2) // 2)
    keep: set[int] = {0, count - 1}
    for part in range(stretches):
        stretch = range(part * count // stretches, (part + 1) * count // stretches)
        numbers = [index for index in stretch if not math.isnan(values[index])] or list(stretch[:1])
        keep |= {min(numbers, key=values.__getitem__), max(numbers, key=values.__getitem__)}
    return sorted(keep)
