"""How is a batch made? Read each sample, transform it, write it into the slot: the same in a process and a thread."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, Final, NamedTuple, final

from leyden.data.decode import clock
from leyden.data.errors import CorruptError
from leyden.data.plan.keys import Rng
from leyden.data.sources.base import Reader
from leyden.data.tiers.here import Numbers
from leyden.data.workers.blame import blame
from leyden.data.workers.board import Board
from leyden.data.workers.messages import Answer, Record, Setup, Task, Times
from leyden.data.workers.ring import Arena, Memory
from leyden.data.workers.stack import Rows, place

_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")
_OPEN: Final = 32  # readers kept open: two windows of shards


class Piece(NamedTuple):
    """One sample that is to be read, or the part `span` of one."""

    shard: int
    sample: int
    path: str
    record: Record | None
    span: list[int] | None


@final
class Filler:
    """Makes batches, one at a time, in one thread."""

    def __init__(self, setup: Setup, memory: Memory, board: Board, *, seeds: bool = True) -> None:
        self._setup, self._memory, self._board = setup, memory, board
        self._readers = _Readers(setup)
        self._rng = Rng(setup.seed)
        self._current: Any = None  # sample that is being transformed
        self._seeds = seeds and setup.seeds_globals

    def fill(self, task: Task) -> Answer:
        """The batch in its slot; never raises for what a sample or a transform does."""
        began = thread_time(), _queued()
        clock.read()
        batch = _Batch(self._setup, task, Arena(self._memory, task.slot))
        for row, pieces in enumerate(_items(task)):
            self._board.write(task.number, row)
            self._current = None
            try:
                self._one(batch, task.epoch, task.start + row, pieces)
            except (Exception, SystemExit) as error:
                named = blame(error, self._setup.sources, task, row, self._current)
                corrupt = pieces[0].shard if isinstance(error, CorruptError) else None
                if corrupt is not None:
                    self._readers.forget(corrupt)
                if not self._setup.skips or (corrupt is not None and not task.last_chance):
                    trace = "".join(traceback.format_exception(error))
                    return Answer(number=task.number, error=named, trace=trace, corrupt=corrupt)
                batch.skipped.append(str(named))
        try:
            answer = batch.answer(began)
        except (Exception, SystemExit) as error:
            named = blame(error, self._setup.sources, task, None)
            return Answer(number=task.number, error=named, trace="".join(traceback.format_exception(error)))
        self._board.write(task.number, -1)
        return answer

    def _one(self, batch: _Batch, epoch: int, position: int, pieces: list[Piece]) -> None:
        setup, t0 = self._setup, perf_counter()
        if self._seeds:
            self._rng.seed_globals(epoch, position)
        rng = self._rng.at(epoch, position) if setup.takes_rng else None
        parts = [self._readers.read(piece) for piece in pieces]
        sample = setup.join(parts) if setup.join else parts[0]
        self._current = sample
        t1 = perf_counter()
        if setup.transform is not None:
            sample = setup.transform(sample, rng) if rng is not None else setup.transform(sample)
        elif isinstance(sample, Mapping) and not isinstance(sample, dict):
            sample = dict(sample)  # decodes each field once
        t2 = perf_counter()
        batch.add(sample)
        batch.fetch += t1 - t0
        batch.transform += t2 - t1
        batch.copy += perf_counter() - t2

    def close(self) -> None:
        """Let go of files."""
        self._readers.close()


@final
class _Batch:
    """A batch while it is made."""

    def __init__(self, setup: Setup, task: Task, arena: Arena) -> None:
        self._collate, self._number, self._arena = setup.collate, task.number, arena
        self._rows, self._samples = Rows(arena, task.items), list[Any]()
        self.fetch = self.transform = self.copy = 0.0
        self.skipped: list[str] = []

    def add(self, sample: Any) -> None:
        if self._collate is None:
            self._rows.add(sample)
        else:
            self._samples.append(sample)

    def answer(self, began: tuple[float, float]) -> Answer:
        t0 = perf_counter()
        if self._collate is None:
            tree, count = self._rows.tree(), self._rows.count
        else:
            count = len(self._samples)
            tree = place(self._collate(self._samples), self._arena) if count else None
        self.copy += perf_counter() - t0
        return Answer(
            number=self._number,
            tree=tree,
            size=self._arena.used,
            items=count,
            skipped=tuple(self.skipped),
            times=self._times(thread_time() - began[0], _queued() - began[1]),
        )

    def _times(self, cpu: float, queued: float) -> Times:
        """Decoding happens within a transform, or when a sample's fields are looked at; it is not counted twice."""
        spent = clock.read()
        parts, left = [], spent.seconds
        for seconds in (self.transform, self.copy, self.fetch):
            taken = min(seconds, left)
            parts.append(seconds - taken)
            left -= taken
        transform, copy, fetch = parts
        return Times(fetch, spent.seconds, transform, copy, cpu, queued, spent.pictures, spent.stored, spent.used)


@final
class _Readers:
    """Open shards, those used last."""

    def __init__(self, setup: Setup) -> None:
        self._numbers = Numbers(setup.sources)
        self._open: OrderedDict[int, tuple[str, Reader]] = OrderedDict()

    def get(self, shard: int, path: str) -> tuple[Reader, bool]:
        """The reader, and whether it is to be closed after use."""
        found = self._open.get(shard)
        if found is not None and found[0] == path:
            self._open.move_to_end(shard)
            return found[1], False
        source, within = self._numbers[shard]
        reader = source.open(within, Path(path) if path else None)
        if path.startswith("/proc/"):  # one ticket's alone
            return reader, True
        self.forget(shard)
        self._open[shard] = path, reader
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)[1][1].close()
        return reader, False

    def read(self, piece: Piece) -> Any:
        """The sample, with its span if it is one part of a packed item."""
        reader, passing = self.get(piece.shard, piece.path)
        try:
            sample = reader.read(piece.sample, piece.record)
        finally:
            if passing:
                reader.close()
        return sample if piece.span is None else (sample, piece.span)

    def forget(self, shard: int) -> None:
        """Close it, if it is open."""
        if (found := self._open.pop(shard, None)) is not None:
            found[1].close()

    def close(self) -> None:
        """Close all."""
        for _, reader in self._open.values():
            reader.close()
        self._open.clear()


def _queued() -> float:
    """Seconds this thread has waited for a processor so far; 0 where the kernel does not say."""
    try:
        return int(_SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _items(task: Task) -> Iterator[list[Piece]]:
    """The pieces of one item after the other."""
    records = {shard: repeat(None) if found is None else iter(found) for shard, (_, found) in task.files.items()}
    spans = repeat(None) if task.spans is None else task.spans
    pieces = [
        Piece(shard, sample, task.files[shard][0], next(records[shard]), span)
        for shard, sample, span in zip(task.shards, task.samples, spans, strict=False)
    ]
    if task.ends is None:
        yield from ([piece] for piece in pieces)
        return
    start = 0
    for end in task.ends:
        yield pieces[start:end]
        start = end
