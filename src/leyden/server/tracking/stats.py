"""What are the last, least and greatest values of each metric of a run, kept up while its frames come?

One snapshot a run goes into the database: names, then numbers column by column. With the offsets up to which its files
were read, a restarted server goes on where the one before stopped. Of runs that have ended only last values stay in
memory, and runs with equal names share them: 12 bytes a metric.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np

from leyden.track.blocks import MAX_NAMES, Block, Floats, Ints
from leyden.track.sealed import Place

_HEADER: Final = struct.Struct("<4sII")  # magic, bytes of the head, bytes of the names, both compressed
_MAGIC: Final = b"LYS1"
_COLUMNS: Final = ("last", "least", "greatest", "last_time", "last_step", "count")
PLACES: Final = frozenset({"system/progress", "progress", "step", "trainer/global_step", "epoch"})  # see progress.py


@final
@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric of one rank."""

    name: str
    rank: int
    count: int
    last_step: int
    last: float
    least: float
    greatest: float


@final
@dataclass(frozen=True, kw_only=True)
class Begun:
    """Where a metric that says how far the run is stood first in this attempt, and where it stands."""

    attempt: int
    at: float
    value: float
    last_at: float
    last: float


@final
class RankStats:
    """The metrics of one rank, a column of numbers each."""

    def __init__(self, names: Sequence[str] = (), table: Floats | None = None) -> None:
        self.names = {name: index for index, name in enumerate(names)}
        self.table = np.full((6, max(16, len(names))), np.nan) if table is None else table
        if table is None:
            self.table[3] = -np.inf
            self.table[4:] = 0
        self._indices: dict[tuple[str, ...], Ints] = {}
        self._places: dict[tuple[str, ...], list[int]] = {}  # of PLACES among these names
        self.attempt = 0
        self.begun: dict[str, tuple[float, float]] = {}  # time and value

    def feed(self, block: Block, room: int) -> int:
        """Take its rows in; how many names had no room."""
        known = self._indices.get(block.names)
        if known is None:
            known = self._number(block.names, room)
        for place in self._places[block.names]:
            self._begin(block, place)
        values, index = block.values, known
        left_out = 0
        if len(index) and index.min() < 0:
            keep = index >= 0
            left_out = int(np.count_nonzero(~keep))
            values, index = values[keep], index[keep]
        table = self.table
        table[5, index] += len(block.steps)
        table[1, index] = np.fmin(table[1, index], np.fmin.reduce(values, axis=1))
        table[2, index] = np.fmax(table[2, index], np.fmax.reduce(values, axis=1))
        newest = int(block.times.argmax()) if len(block.times) > 1 else 0
        newest = len(block.times) - 1 if block.times[-1] >= block.times[newest] else newest
        moment = block.times[newest]
        fresh = index[table[3, index] <= moment]
        if len(fresh) == len(index):
            table[0, index] = values[:, newest]
        else:
            table[0, fresh] = values[table[3, index] <= moment, newest]
        table[3, fresh] = moment
        table[4, fresh] = block.steps[newest]
        return left_out

    def _begin(self, block: Block, place: int) -> None:
        """Its first point in this attempt, or the first after it fell back."""
        name, values = block.names[place], block.values[place]
        falls = np.flatnonzero(np.diff(values) < 0)
        number = self.names.get(name)
        if len(falls):
            first = int(falls[-1]) + 1
        elif name not in self.begun or (number is not None and values[0] < self.table[0, number]):
            first = 0
        else:
            return
        self.begun[name] = float(block.times[first]), float(values[first])

    def _number(self, names: tuple[str, ...], room: int) -> Ints:
        found = np.empty(len(names), np.int64)
        for place, name in enumerate(names):
            number = self.names.get(name, -1)
            if number < 0 and room > 0:
                number = self.names[name] = len(self.names)
                room -= 1
            found[place] = number
        if len(self.names) > self.table.shape[1]:
            grown = np.full((6, max(len(self.names), 2 * self.table.shape[1])), np.nan)
            grown[3], grown[4:] = -np.inf, 0
            grown[:, : self.table.shape[1]] = self.table
            self.table = grown
        if len(self._indices) > 1000:
            self._indices.clear()
            self._places.clear()
        self._indices[names] = found
        self._places[names] = [place for place, name in enumerate(names) if name in PLACES]
        return found


@dataclass(kw_only=True)
class RunStats:
    """All ranks of one live run."""

    ranks: dict[int, RankStats] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)  # of its files
    stamps: dict[str, int] = field(default_factory=dict)  # of config.json and the like, when they were last read
    dropped: int = 0
    exact: bool = True  # whether count, least and greatest leave out what a later attempt replaced
    _where: dict[str, tuple[int, RankStats, int]] = field(default_factory=dict)

    def feed(self, rank: int, attempt: int, block: Block) -> None:
        """Take the rows of a frame in."""
        if not len(block.steps):
            return
        one = self.ranks.get(rank)
        if one is None:
            one = self.ranks[rank] = RankStats()
        if attempt != one.attempt:
            self.exact = self.exact and not one.names
            one.attempt, one.begun = attempt, {}
        before = len(one.names)
        total = sum(len(some.names) for some in self.ranks.values())
        self.dropped = max(self.dropped, one.feed(block, MAX_NAMES - total))
        if len(one.names) > before:
            self._find_new(rank, one, before)

    def _find_new(self, rank: int, one: RankStats, before: int) -> None:
        for name, index in list(one.names.items())[before:]:
            known = self._where.get(name)
            if known is None or rank < known[0]:
                self._where[name] = (rank, one, index)

    @property
    def points(self) -> int:
        """How many came."""
        return sum(int(one.table[5, : len(one.names)].sum()) for one in self.ranks.values())

    def last(self, name: str) -> float | None:
        """The last value, of the lowest rank that logged it."""
        found = self._where.get(name)
        return float(found[1].table[0, found[2]]) if found else None

    def bounds(self, name: str) -> tuple[float, float] | None:
        """The least and the greatest value, of the lowest rank that logged it."""
        found = self._where.get(name)
        return (float(found[1].table[1, found[2]]), float(found[1].table[2, found[2]])) if found else None

    def begun(self, name: str) -> Begun | None:
        """Of one of PLACES, from the lowest rank that logged it; None where it was not logged in this attempt."""
        found = self._where.get(name)
        first = found[1].begun.get(name) if found else None
        if found is None or first is None:
            return None
        _, one, index = found
        last, last_at = float(one.table[0, index]), float(one.table[3, index])
        return Begun(attempt=one.attempt, at=first[0], value=first[1], last_at=last_at, last=last)

    def names(self) -> Mapping[str, object]:
        """Of all metrics."""
        return self._where

    def summaries(self) -> Iterator[Summary]:
        """Rank by rank."""
        for rank, one in sorted(self.ranks.items()):
            for name, index in one.names.items():
                last, least, greatest, _, step, count = one.table[:, index].tolist()
                yield Summary(
                    name=name, rank=rank, count=int(count), last_step=int(step), last=last, least=least,
                    greatest=greatest,
                )  # fmt: skip

    def dump(self) -> bytes:
        """For the database."""
        head = {
            "files": self.offsets,
            "stamps": self.stamps,
            "dropped": self.dropped,
            "exact": self.exact,
            "ranks": [[rank, len(one.names), one.attempt] for rank, one in self.ranks.items()],
            "begun": [one.begun for one in self.ranks.values()],
        }
        names = [list(one.names) for one in self.ranks.values()]
        tables = [np.ascontiguousarray(one.table[:, : len(one.names)]) for one in self.ranks.values()]
        return _packed(head, names, b"".join(one[row].tobytes() for row in range(6) for one in tables))

    @classmethod
    def load(cls, data: bytes) -> RunStats:
        """From the database."""
        head, names, numbers = _parts(data)
        stats = cls(offsets=head["files"], stamps=head["stamps"], dropped=head["dropped"], exact=head["exact"])
        columns = np.frombuffer(numbers).reshape(6, -1)
        start, begun = 0, head.get("begun") or [{}] * len(head["ranks"])  # older snapshots have none
        for (rank, count, attempt), some, first in zip(
            head["ranks"], json.loads(zlib.decompress(names)), begun, strict=True
        ):
            one = RankStats(some, np.array(columns[:, start : start + count]))
            one.attempt, start = attempt, start + count
            one.begun = {name: (at, value) for name, (at, value) in first.items()}
            stats.ranks[rank] = one
            stats._find_new(rank, one, 0)
        return stats

    @classmethod
    def of_places(cls, places: Sequence[Place], dropped: int) -> RunStats:
        """Exact, from a sealed file."""
        stats = cls(dropped=dropped)
        for rank in {one.rank for one in places}:
            some = [one for one in places if one.rank == rank]
            rows = [[one.last, one.least, one.greatest, one.last_time, one.last_step, one.count] for one in some]
            ranked = RankStats([one.name for one in some], np.array(rows, np.float64).T.copy())
            stats.ranks[rank] = ranked
            stats._find_new(rank, ranked, 0)
        return stats


@final
class LastValues:
    """Of a run that has ended: the last value of each metric. `numbers` is shared by all runs with these names."""

    def __init__(self, numbers: Mapping[str, int], values: Floats) -> None:
        self._numbers, self._values = numbers, values

    def last(self, name: str) -> float | None:
        """The last value, of the lowest rank that logged it."""
        number = self._numbers.get(name)
        return float(self._values[number]) if number is not None else None

    def names(self) -> Mapping[str, object]:
        """Of all metrics."""
        return self._numbers


@final
class Shelf:
    """Makes LastValues of snapshots; names that many runs share are kept once."""

    def __init__(self) -> None:
        self._names: dict[bytes, dict[str, int]] = {}

    def last_values(self, data: bytes) -> LastValues:
        """Those in a snapshot."""
        head, names, numbers = _parts(data)
        key = names + bytes(str(head["ranks"]), "ascii")
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = {}
            flat = [name for some in json.loads(zlib.decompress(names)) for name in some]
            order = sorted(range(len(head["ranks"])), key=lambda index: head["ranks"][index][0])
            starts = np.cumsum([0, *(count for _, count, _ in head["ranks"])]).tolist()
            for index in order:
                for number in range(starts[index], starts[index + 1]):
                    known.setdefault(flat[number], number)
        total = len(numbers) // (8 * len(_COLUMNS))
        return LastValues(known, np.array(np.frombuffer(numbers, np.float64, total)))


def _packed(head: dict[str, object], names: object, numbers: bytes) -> bytes:
    first = zlib.compress(json.dumps(head).encode(), 1)
    second = zlib.compress(json.dumps(names).encode(), 1)
    return _HEADER.pack(_MAGIC, len(first), len(second)) + first + second + numbers


def _parts(data: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    magic, first, second = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("no snapshot")
    start = _HEADER.size
    head = json.loads(zlib.decompress(data[start : start + first]))
    return head, data[start + first : start + first + second], data[start + first + second :]
