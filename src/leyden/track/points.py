"""Which curves does a run's folder hold? Read on as its files grow, many ranks and attempts in one.

A later attempt replaces what an earlier one of its rank logged from its least step on: that training was thrown away.
Points stand in the order of time, which frames of different key sets do not keep. What was sealed (sealed.py) is read
from there, and later frames count after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Final, final

import numpy as np

from leyden.track.blocks import FOLDER, MAX_NAMES, Block, Damage, Floats, FrameFile, Frames, Ints
from leyden.track.pyramid import Curve, Pyramid
from leyden.track.sealed import SEALED, Sealed, is_sealed, open_sealed

Key = tuple[int, str]  # rank, name
ALL_BYTES: Final = 128 << 20  # of smaller runs all metrics are kept, of larger ones those that were asked for


@final
class Line:
    """The points of one metric of one rank."""

    def __init__(self) -> None:
        self.curve = Pyramid()
        self.attempt = 0
        self.version = 0  # changes where points went away
        self._base = 0  # so many points are of earlier attempts
        self._least = 0  # step of this one

    def extend(self, attempt: int, steps: Ints, times: Floats, values: Floats) -> None:
        """Add what an attempt logged; attempts must come in their order."""
        if attempt != self.attempt:
            self.attempt, self._base, self._least = attempt, self.curve.count, np.iinfo(np.int64).max
        if (least := int(steps.min())) < self._least:
            self._least = least
            self._drop_later(least)
        if len(times) > 1 and (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            steps, times, values = steps[order], times[order], values[order]
        self._insert(steps, times, values)

    def _drop_later(self, least: int) -> None:
        """Of earlier attempts only the points of smaller steps stay."""
        before = self.curve.points(0, self._base)
        gone = np.flatnonzero(before.steps >= least)
        if not len(gone):
            return
        self.version += 1
        first = int(gone[0])
        rest = self.curve.points(first, self.curve.count)
        keep = np.ones(len(rest.steps), bool)
        keep[gone - first] = False
        steps, times, values = rest.steps[keep], rest.times[keep], rest.values[keep]  # copies: the place is used again
        self.curve.truncate(first)
        self.curve.append(steps, times, values)
        self._base -= len(gone)

    def _insert(self, steps: Ints, times: Floats, values: Floats) -> None:
        """Where they belong by their times, among this attempt's."""
        count = self.curve.count
        own = self.curve.points(self._base, count).times
        place = count
        if len(own) and times[0] < own[-1]:
            place = self._base + int(np.searchsorted(own, times[0], "right"))
        if place < count:
            tail = self.curve.points(place, count)
            times = np.concatenate((tail.times, times))
            order = np.argsort(times, kind="stable")
            steps = np.concatenate((tail.steps, steps))[order]
            values = np.concatenate((tail.values, values))[order]
            times = times[order]
            self.curve.truncate(place)
        self.curve.append(steps, times, values)


@final
class RunPoints:
    """The curves of one run. For one thread at a time."""

    def __init__(self, run_dir: Path, *, all_bytes: int = ALL_BYTES) -> None:
        self._run_dir, self._all_bytes = run_dir, all_bytes
        self._wanted: set[str] | None = set()  # None: all
        self._sealed: Sealed | None = None
        self._sealed_stamp: tuple[int, int] = (0, 0)
        self.generation = 0  # counts how often all was read anew
        self._begin()

    def _begin(self) -> None:
        self.generation += 1
        self._frames = Frames(self._run_dir)
        self._lines: dict[Key, Line] = {}
        self._known: dict[Key, None] = {}
        self._plans: dict[tuple[int, tuple[str, ...]], list[tuple[Key, int]]] = {}
        self.dropped = 0

    @property
    def damage(self) -> list[Damage]:
        """Bytes that are no frames."""
        return self._frames.damage

    @property
    def offsets(self) -> dict[str, int]:
        """Up to where each file holds whole frames; of files that were sealed, how long they were."""
        before = self._sealed.index.files if self._sealed is not None else {}
        files = self._frames.files
        return {name: before.get(name, 0) + (files[name].offset if name in files else 0) for name in {*before, *files}}

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return sum(27 * line.curve.count + 2000 for line in self._lines.values())

    def refresh(self, names: Iterable[str] | None = ()) -> None:
        """Read what came since, of these metrics too; None: of all."""
        self._want(names)
        stamp = _stamp(self._run_dir / SEALED)
        if stamp != self._sealed_stamp or (self._sealed is None and is_sealed(self._run_dir)):
            self._sealed = open_sealed(self._run_dir)
            self._sealed_stamp = stamp if any(stamp) else _stamp(self._run_dir / SEALED)  # it was brought just now
            self._begin()
        for file in self._frames.look():
            if self._is_late(file):
                self._begin()
                return self.refresh()
            self._take(file, self._frames.read(file))
        return None

    def _want(self, names: Iterable[str] | None) -> None:
        if self._wanted is None:
            return
        missing = None if names is None else set(names) - self._wanted
        if missing == set():
            return
        if missing is None or self._bytes() <= self._all_bytes:
            self._wanted = None
            self._begin()
            return
        self._wanted |= missing
        self._plans.clear()
        for file in self._frames.in_order():  # what was read stays, what comes is read for all of them
            self._take(file, self._frames.again(file), missing)

    def _bytes(self) -> int:
        folder = self._run_dir / FOLDER
        return sum(one.stat().st_size for one in folder.glob("*.frames")) if folder.is_dir() else 0

    def _is_late(self, file: FrameFile) -> bool:
        """Whether it became longer, or shorter, than could be true when what counts after it was read."""
        later = (one for one in self._frames.files.values() if one.rank == file.rank and one.attempt > file.attempt)
        return any(one.offset for one in later) or file.offset > file.size

    def _take(self, file: FrameFile, blocks: Iterator[Block], only: Set[str] | None = None) -> None:
        parts: dict[Key, list[tuple[Ints, Floats, Floats]]] = {}
        waiting = 0
        for block in blocks:
            if not len(block.steps):
                continue
            plan = self._plans.get((file.rank, block.names))
            if plan is None:
                plan = self._plan(file.rank, block.names)
            for key, row in plan:
                if only is None or key[1] in only:
                    parts.setdefault(key, []).append((block.steps, block.times, block.values[row]))
            waiting += block.values.size  # the whole frame stays in memory as long as a row of it waits
            if waiting > 2_000_000:
                self._extend(file.attempt, parts)
                parts, waiting = {}, 0
        self._extend(file.attempt, parts)

    def _plan(self, rank: int, names: tuple[str, ...]) -> list[tuple[Key, int]]:
        """Which rows of a frame of these names are wanted."""
        found: list[tuple[Key, int]] = []
        for row, name in enumerate(names):
            key = (rank, name)
            if key not in self._known:
                if len(self._known) >= MAX_NAMES:
                    self.dropped += 1
                    continue
                self._known[key] = None
            if self._wanted is None or name in self._wanted:
                found.append((key, row))
        if len(self._plans) >= 10_000:
            self._plans.clear()
        self._plans[rank, names] = found
        return found

    def _extend(self, attempt: int, parts: dict[Key, list[tuple[Ints, Floats, Floats]]]) -> None:
        for key, some in parts.items():
            steps, times, values = (
                some[0] if len(some) == 1 else (np.concatenate(one) for one in zip(*some, strict=True))
            )
            self._line(key).extend(attempt, steps, times, values)

    def _line(self, key: Key) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line()
            before = self._sealed.curve(*key) if self._sealed is not None else None
            if before is not None:
                points = before.points(0, before.count)
                line.extend(0, points.steps, points.times, points.values)
        return line

    def metrics(self) -> list[Key]:
        """All metrics there are, by rank, then by name; also those that were not asked for."""
        sealed = self._sealed.metrics() if self._sealed is not None else ()
        return sorted({*self._known, *sealed})

    def ranks(self, name: str) -> list[int]:
        """Of those that logged it, lowest first."""
        return [rank for rank, known in self.metrics() if known == name]

    def curve(self, rank: int, name: str) -> Curve | None:
        """It, if it was asked for and is there."""
        if (line := self._lines.get((rank, name))) is not None:
            return line.curve
        return self._sealed.curve(rank, name) if self._sealed is not None else None

    def version(self, rank: int, name: str) -> int:
        """Another one where points went away since."""
        line = self._lines.get((rank, name))
        return 1_000_000 * self.generation + (line.version if line else 0)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
