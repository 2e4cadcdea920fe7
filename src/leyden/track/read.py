"""What did a run log? One line a metric, points by name, or few enough points to draw."""

from __future__ import annotations

import warnings
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from leyden.core.errors import NotFoundError, nearest
from leyden.core.log_views import MetricView, SeriesView
from leyden.track.blocks import Floats, Ints
from leyden.track.points import RunPoints
from leyden.track.pyramid import Curve, Points


@dataclass
class Series:
    """The points of one metric in the order they were logged."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))


def read_run(run_dir: Path) -> dict[str, Series]:
    """Every metric of the run, by name. A metric is read from the lowest rank that logged it."""
    return {name: _series(curve.points(0, curve.count)) for name, curve in _curves(_open(run_dir)).items()}


def read_metrics(run_dir: Path) -> list[MetricView]:
    """One line a metric, by name; least and greatest leave NaN out."""
    return summaries(_open(run_dir))


def read_series(run_dir: Path, name: str, *, max_points: int = 1000) -> SeriesView:
    """The points of one metric; where there are more than `max_points`, the extremes of each stretch."""
    return thinned(_open(run_dir), name, max_points)


def summaries(points: RunPoints) -> list[MetricView]:
    """One line a metric, of points that were all asked for."""
    return [summary(name, curve) for name, curve in sorted(_curves(points).items())]


def thinned(points: RunPoints, name: str, most: int) -> SeriesView:
    """The points of one metric, few enough to draw. Raises NotFoundError."""
    curve = next((points.curve(rank, name) for rank in points.ranks(name)), None)
    if curve is None:
        known = {known for _, known in points.metrics()}
        raise NotFoundError(
            asked=f"metric {name!r}",
            found=f"this run logged {len(known)} metrics, not this one",
            do=f"Check the name: {nearest(name, known)}" if known else "Wait until the run has logged something.",
        )
    some = curve.points(0, curve.count)
    keep = thin(some.values, most)
    return SeriesView(
        name=name,
        steps=some.steps[keep].tolist(),
        times=some.times[keep].tolist(),
        values=some.values[keep].tolist(),
    )


def summary(name: str, curve: Curve) -> MetricView:
    """The line of one metric."""
    whole, last = curve.draw(1).groups, curve.points(curve.count - 1, curve.count)
    return MetricView(
        name=name,
        count=curve.count,
        last_step=int(last.steps[0]),
        last=float(last.values[0]),
        least=float(whole.least[0]),
        greatest=float(whole.greatest[0]),
    )


def thin(values: Floats, most: int) -> Ints:
    """Indices to draw: all, or the least and the greatest of each of `most / 2` stretches, the first and the last."""
    count = len(values)
    if count <= most:
        return np.arange(count)
    stretches = max(1, (most - 2) // 2)
    starts = np.arange(stretches) * count // stretches
    kept = [[0, count - 1]]
    for low, high in zip(starts, np.append(starts[1:], count), strict=True):
        part = values[low:high]
        missing = np.isnan(part)
        least, greatest = np.where(missing, np.inf, part).argmin(), np.where(missing, -np.inf, part).argmax()
        kept.append([int(low + least), int(low + greatest)])
    return np.unique(np.concatenate(kept))


def _open(run_dir: Path) -> RunPoints:
    points = RunPoints(run_dir)
    points.refresh(None)
    for one in points.damage:
        warnings.warn(
            f"{one.path}: {one.size_bytes} bytes at {one.offset} are damaged; their points are left out", stacklevel=3
        )
    return points


def _curves(points: RunPoints) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for rank, name in points.metrics():
        curve = points.curve(rank, name)
        if curve is not None and curve.count:
            found.setdefault(name, curve)
    return found


def _series(points: Points) -> Series:
    one = Series()
    one.steps.frombytes(np.ascontiguousarray(points.steps).tobytes())
    one.times.frombytes(np.ascontiguousarray(points.times).tobytes())
    one.values.frombytes(np.ascontiguousarray(points.values).tobytes())
    return one
