"""How is a curve of a million points drawn with a thousand?

Above the points stand levels: a group of level k summarises 16**k points by their first step and time, least, greatest
and mean, and how many were NaN. A picture takes the groups that are just fine enough, so its cost goes with what is
drawn, not with what was logged; what lies at its edges is put together from smaller groups. Groups begin at multiples
of their size, so that a picture does not flicker while points are added or it is moved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from leyden.track.blocks import Floats, Ints

FAN: Final = 16


@final
@dataclass(frozen=True, kw_only=True)
class Points:
    """Points one by one, in the order of time."""

    steps: Ints
    times: Floats
    values: Floats


@final
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Summaries of neighbours. Least, greatest and mean leave NaN out; they are NaN where all are."""

    steps: Ints  # the first
    times: Floats
    least: Floats
    greatest: Floats
    mean: Floats
    nan: Floats  # how many were
    sizes: Floats  # of how many points

    def merged(self, many: int) -> Groups:
        """Every `many` neighbours as one; their number must be a multiple of that."""
        if many == 1:
            return self
        shape = (-1, many)
        good = (self.sizes - self.nan).reshape(shape)
        total = good.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = np.where(good > 0, self.mean.reshape(shape), 0.0) * good
            mean = np.where(total > 0, np.where(good > 0, sums, 0.0).sum(axis=1) / total, np.nan)
        return Groups(
            steps=self.steps[::many],
            times=self.times[::many],
            least=np.fmin.reduce(self.least.reshape(shape), axis=1),
            greatest=np.fmax.reduce(self.greatest.reshape(shape), axis=1),
            mean=mean,
            nan=self.nan.reshape(shape).sum(axis=1),
            sizes=self.sizes.reshape(shape).sum(axis=1),
        )


@final
@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture of a curve, or of a part of it: `per` is how many points a group stands for, 1 for points as they are.

    With `per` 1 least, greatest and mean are the values themselves.
    """

    groups: Groups
    per: int
    count: int  # points in the part
    nan: int
    ordered: bool  # whether x never runs backwards


class Curve(ABC):
    """Points that can be drawn, wherever they lie."""

    count: int

    @abstractmethod
    def points(self, start: int, stop: int) -> Points:
        """Those from number `start` up to `stop`."""

    @abstractmethod
    def groups(self, level: int, start: int, stop: int) -> Groups:
        """Whole groups of a level, from 1 on."""

    @abstractmethod
    def ordered(self, x: str) -> bool:
        """Whether "step" or "time" never runs backwards."""

    @abstractmethod
    def position(self, x: str, value: float, *, after: bool) -> int:
        """How many points have a smaller x (`after`: smaller or equal); x must be ordered."""

    def draw(self, most: int, x: str = "step", low: float | None = None, high: float | None = None) -> Drawn:
        """At most so many groups, of those points whose x lies within the bounds."""
        if not self.ordered(x) and not (low is None and high is None):
            return self._picked(most, x, low, high)
        start = 0 if low is None else self.position(x, low, after=False)
        stop = self.count if high is None else max(start, self.position(x, high, after=True))
        per, groups = self._fine(start, stop, max(1, most))
        return Drawn(
            groups=groups, per=per, count=stop - start, nan=int(groups.nan.sum()), ordered=self.ordered(x)
        )  # fmt: skip

    def _picked(self, most: int, x: str, low: float | None, high: float | None) -> Drawn:
        whole = self.points(0, self.count)
        along = whole.steps if x == "step" else whole.times
        keep = (along >= (-np.inf if low is None else low)) & (along <= (np.inf if high is None else high))
        part = Pyramid()
        part.append(whole.steps[keep], whole.times[keep], whole.values[keep])
        per, groups = part._fine(0, part.count, max(1, most))
        return Drawn(groups=groups, per=per, count=part.count, nan=int(groups.nan.sum()), ordered=False)

    def _fine(self, start: int, stop: int, most: int) -> tuple[int, Groups]:
        """Groups of one size, a power of two, but for the first and the last."""
        count = stop - start
        if count <= most:
            return 1, _singles(self.points(start, stop))
        per = 1 << max(1, (-(-count // most) - 1).bit_length())
        while -(-stop // per) - start // per > most and per < count:
            per *= 2
        if most == 1:
            return count, _one(self._pieces(start, stop, per))
        if per < FAN:
            inner = np.arange((start // per + 1) * per, stop, per, dtype=np.int64)
            return per, _summaries(self.points(start, stop), np.concatenate(([0], inner - start)))
        level = (per.bit_length() - 1) // 4
        many = per // FAN**level
        first, last = -(-start // per), stop // per
        parts = []
        if first * per > start:
            parts.append(_one(self._pieces(start, min(first * per, stop), per)))
        if last > first:
            parts.append(self.groups(level, first * many, last * many).merged(many))
        if last >= first and last * per < stop:
            parts.append(_one(self._pieces(last * per, stop, per)))
        return per, _joined(parts)

    def _pieces(self, start: int, stop: int, below: int) -> list[Groups]:
        """What lies between, of the largest groups that fit, all smaller than `below`."""
        level = 0
        while FAN ** (level + 1) < below:
            level += 1
        return self._fitting(start, stop, level)

    def _fitting(self, start: int, stop: int, level: int) -> list[Groups]:
        if start >= stop:
            return []
        if level == 0:
            return [_summaries(self.points(start, stop), np.zeros(1, np.int64))]
        size = FAN**level
        first, last = -(-start // size), stop // size
        if first >= last:
            return self._fitting(start, stop, level - 1)
        inner = self.groups(level, first, last)
        return [
            *self._fitting(start, first * size, level - 1),
            inner,
            *self._fitting(last * size, stop, level - 1),
        ]


@final
class Pyramid(Curve):
    """Points in memory with their levels, both of which grow; 27 bytes a point."""

    def __init__(self) -> None:
        self.count = 0
        self._points = np.empty((3, FAN))
        self._levels: list[_Level] = []
        self._backwards = {"step": 0, "time": 0}  # how many neighbours run backwards

    def append(self, steps: Ints, times: Floats, values: Floats) -> None:
        """Add points at the end."""
        fresh = len(steps)
        if not fresh:
            return
        self._points = _with_room(self._points, self.count, self.count + fresh)
        start, self.count = self.count, self.count + fresh
        self._points[0, start : self.count].view(np.int64)[:] = steps
        self._points[1, start : self.count] = times
        self._points[2, start : self.count] = values
        for row, x in enumerate(("step", "time")):
            self._backwards[x] += self._count_backwards(row, max(0, start - 1), self.count)
        self._raise_levels()

    def truncate(self, count: int) -> None:
        """Only the first so many stay."""
        if count >= self.count:
            return
        for row, x in enumerate(("step", "time")):
            if self._backwards[x]:
                self._backwards[x] -= self._count_backwards(row, max(0, count - 1), self.count)
        self.count = count
        for number, level in enumerate(self._levels, 1):
            level.truncate(count // FAN**number)

    def points(self, start: int, stop: int) -> Points:
        part = self._points[:, start:stop]
        return Points(steps=part[0].view(np.int64), times=part[1], values=part[2])

    def groups(self, level: int, start: int, stop: int) -> Groups:
        return self._levels[level - 1].part(start, stop, FAN**level)

    def ordered(self, x: str) -> bool:
        return self._backwards[x] == 0

    def position(self, x: str, value: float, *, after: bool) -> int:
        row = self._points[0, : self.count].view(np.int64) if x == "step" else self._points[1, : self.count]
        return int(np.searchsorted(row, value, "right" if after else "left"))

    def level_counts(self) -> list[int]:
        """How many whole groups each level has."""
        return [level.count for level in self._levels if level.count]

    def _count_backwards(self, row: int, start: int, stop: int) -> int:
        part = self._points[row, start:stop]
        part = part.view(np.int64) if row == 0 else part
        return int(np.count_nonzero(part[1:] < part[:-1]))

    def _raise_levels(self) -> None:
        size, number = FAN, 1
        while self.count >= size:
            if len(self._levels) < number:
                self._levels.append(_Level())
            level = self._levels[number - 1]
            start, stop = level.count, self.count // size
            if stop > start:
                if number == 1:
                    points = self.points(start * FAN, stop * FAN)
                    level.append(_summaries(points, np.arange(0, (stop - start) * FAN, FAN)))
                else:
                    level.append(self.groups(number - 1, start * FAN, stop * FAN).merged(FAN))
            size, number = size * FAN, number + 1


@final
class _Level:
    """Groups of one size, all whole."""

    def __init__(self) -> None:
        self.count = 0
        self._data = np.empty((6, 4))

    def append(self, groups: Groups) -> None:
        start, self.count = self.count, self.count + len(groups.times)
        self._data = _with_room(self._data, start, self.count)
        part = self._data[:, start : self.count]
        part[0].view(np.int64)[:] = groups.steps
        for row, one in enumerate((groups.times, groups.least, groups.greatest, groups.mean, groups.nan), 1):
            part[row] = one

    def truncate(self, count: int) -> None:
        self.count = min(self.count, count)

    def part(self, start: int, stop: int, size: int) -> Groups:
        part = self._data[:, start:stop]
        return Groups(
            steps=part[0].view(np.int64), times=part[1], least=part[2], greatest=part[3], mean=part[4], nan=part[5],
            sizes=np.full(stop - start, float(size)),
        )  # fmt: skip


def _with_room(data: Floats, used: int, needed: int) -> Floats:
    if needed <= data.shape[1]:
        return data
    grown = np.empty((data.shape[0], max(needed, data.shape[1] * 3 // 2, 2 * FAN)))
    grown[:, :used] = data[:, :used]
    return grown


def _singles(points: Points) -> Groups:
    values = points.values
    return Groups(
        steps=points.steps, times=points.times, least=values, greatest=values, mean=values,
        nan=np.isnan(values).astype(np.float64), sizes=np.ones(len(values)),
    )  # fmt: skip


def _summaries(points: Points, starts: Ints) -> Groups:
    """Of the points from each start up to the next one."""
    values = points.values
    missing = np.isnan(values)
    nan = np.add.reduceat(missing, starts, dtype=np.float64)
    sizes = np.diff(np.append(starts, len(values))).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sums = np.add.reduceat(np.where(missing, 0.0, values) if nan.any() else values, starts)
        mean = np.where(sizes > nan, sums / (sizes - nan), np.nan)
    return Groups(
        steps=points.steps[starts], times=points.times[starts], least=np.fmin.reduceat(values, starts),
        greatest=np.fmax.reduceat(values, starts), mean=mean, nan=nan, sizes=sizes,
    )  # fmt: skip


def _one(parts: Sequence[Groups]) -> Groups:
    whole = _joined(parts)
    return whole.merged(len(whole.times))


def _joined(parts: Sequence[Groups]) -> Groups:
    if len(parts) == 1:
        return parts[0]
    return Groups(
        steps=np.concatenate([one.steps for one in parts]),
        times=np.concatenate([one.times for one in parts]),
        least=np.concatenate([one.least for one in parts]),
        greatest=np.concatenate([one.greatest for one in parts]),
        mean=np.concatenate([one.mean for one in parts]),
        nan=np.concatenate([one.nan for one in parts]),
        sizes=np.concatenate([one.sizes for one in parts]),
    )
