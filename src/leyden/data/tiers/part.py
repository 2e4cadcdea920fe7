"""How does a shard grow? A sparse file, the ranges that are in it, and those that are on their way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, final

import google_crc32c

from leyden.data.errors import CorruptError
from leyden.data.sources.base import Records
from leyden.data.tiers.fetch import Body, Fetcher, Sink
from leyden.data.tiers.shelf import Shelf
from leyden.data.tiers.store import UnrangedError

TRIES: Final = 3  # of bytes that are wrong
PIECE: Final = 4 << 20  # bytes a request of a whole shard; at 100 MB/s 40 ms, twice the usual latency
LANES: Final = 2  # connections a shard: one gives about 100 MB/s
STUCK_S: Final = 0.06  # that a sample waits for the piece of the whole it is in, before it is asked for by itself
GAP: Final = 128 << 10  # samples nearer than this come by one request
INLINE: Final = 256 << 10  # bytes that are written without a thread

Span = tuple[int, int]


@final
class Spans:
    """A set of bytes: disjoint ranges in order."""

    def __init__(self) -> None:
        self._ranges: list[Span] = []

    def add(self, start: int, stop: int) -> None:
        """These too."""
        first = bisect_right(self._ranges, (start, -1))
        if first and self._ranges[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(self._ranges) and self._ranges[last][0] <= stop:
            start, stop = min(start, self._ranges[last][0]), max(stop, self._ranges[last][1])
            last += 1
        self._ranges[first:last] = [(start, stop)]

    def remove(self, start: int, stop: int) -> None:
        """Not these."""
        kept: list[Span] = []
        for low, high in self._ranges:
            kept += [(a, b) for a, b in ((low, min(high, start)), (max(low, stop), high)) if a < b]
        self._ranges = kept

    def missing(self, start: int, stop: int) -> list[Span]:
        """What of start:stop is not in the set.

        >>> spans = Spans(); spans.add(10, 20); spans.add(30, 40); spans.add(20, 25)
        >>> spans.missing(0, 50), spans.missing(12, 24)
        ([(0, 10), (25, 30), (40, 50)], [])
        """
        found, at = [], start
        for low, high in self._ranges[max(0, bisect_right(self._ranges, (start, -1)) - 1) :]:
            if low >= stop:
                break
            if low > at:
                found.append((at, low))
            at = max(at, high)
        return [*found, (at, stop)] if at < stop else found


def together(spans: Iterable[Span], gap: int = GAP) -> list[Span]:
    """Ranges to ask for: near ones as one.

    >>> together([(50, 60), (0, 10), (12, 20)], gap=5)
    [(0, 20), (50, 60)]
    """
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


@final
class Part:
    """A shard that is not whole yet. With a shelf it has a name there; without one it lives in memory (memfd)."""

    def __init__(self, fetcher: Fetcher, name: str, size_bytes: int, key: str, shelf: Shelf | None) -> None:
        self.fetcher, self.name, self.size_bytes, self.shelf = fetcher, name, size_bytes, shelf
        if shelf is not None:
            self.path = shelf.part(key)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        else:
            self._fd = os.memfd_create(f"leyden {name}"[:200], os.MFD_CLOEXEC)
            self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}")
        os.ftruncate(self._fd, size_bytes)
        self.users: set[int] = set()  # open tickets
        self.retired = False
        self._have = Spans()
        self._coming: dict[asyncio.Task[None], tuple[int, int, bool]] = {}
        self._version: str | None = None

    async def need(self, spans: Sequence[Span], *, urgent: bool) -> None:
        """These bytes are in the file. Raises what Fetcher.read raises, and OSError where the disk is full."""
        waits = self._begin(spans, urgent, {True, False})
        slow = {task for task in waits if urgent and not self._coming[task][2]}
        if slow:  # a piece of the whole is on its way and holds these bytes: it may be stuck
            await asyncio.wait(slow, timeout=STUCK_S)
            waits = waits - slow | self._begin(spans, True, {True})
        await _all(waits)

    def _begin(self, spans: Sequence[Span], urgent: bool, kinds: set[bool]) -> set[asyncio.Task[None]]:
        """Requests for what is neither there nor on its way by requests of these kinds, and those to wait for."""
        coming, waits = Spans(), set()
        for low, high, kind in self._coming.values():
            if kind in kinds:
                coming.add(low, high)
        for start, stop in together(gap for span in spans for gap in self._have.missing(*span)):
            if coming.missing(start, stop):
                for low in range(start, stop, PIECE):
                    waits.add(self._fetch(low, min(low + PIECE, stop), urgent))
            else:
                waits |= {
                    task for task, (low, high, kind) in self._coming.items()
                    if kind in kinds and low < stop and start < high
                }  # fmt: skip
        return waits

    async def samples(self, records: Records) -> None:
        """Fetch samples' bytes and hold them against their checksums; wrong ones come again. Raises as `need`."""
        stops = records["offset"] + records["length"]
        spans = list(zip(records["offset"].tolist(), stops.tolist(), strict=True))
        for _ in range(TRIES):
            await self.need(spans, urgent=True)
            wrong = [
                span for span, crc32c in zip(spans, records["crc32c"].tolist(), strict=True)
                if crc32c >= 0 and google_crc32c.value(self.read(*span)) != crc32c
            ]  # fmt: skip
            if not wrong:
                return
            for span in wrong:
                self.forget(*span)
        raise self._corrupt(f"bytes {wrong[0][0]:,} to {wrong[0][1]:,} do not match their crc32c, {TRIES} times")

    async def whole(self) -> None:
        """All of it, over several connections. Raises as `need` does."""
        try:
            pieces = [(low, min(low + PIECE, self.size_bytes)) for low in range(0, self.size_bytes, PIECE)]
            lane = iter(pieces)

            async def run() -> None:
                for piece in lane:
                    await self.need([piece], urgent=False)

            await _all({asyncio.ensure_future(run()) for _ in range(min(LANES, len(pieces)))}, cancel=True)
            await self.need([(0, self.size_bytes)], urgent=False)  # what a reader found wrong meanwhile
        except UnrangedError:
            await self._stream()

    async def check(self, sha256: str | None) -> None:
        """Hold the whole file against its checksum."""
        if sha256 is not None:
            found = await asyncio.to_thread(_sha256, self.path)
            if found != sha256:
                raise self._corrupt(f"its sha256 is {found[:12]}…, the index says {sha256[:12]}…")

    def forget(self, start: int, stop: int) -> None:
        """These bytes are wrong."""
        self._have.remove(start, stop)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes that are there."""
        return os.pread(self._fd, stop - start, start)

    def forsake(self) -> None:
        """No ticket waits any more: urgent requests end."""
        for task, (_, _, urgent) in self._coming.items():
            if urgent:
                task.cancel()

    def close(self) -> None:
        """Let go of the file; requests under way end."""
        self.retired = True
        for task in self._coming:
            task.cancel()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self.shelf is not None:
                self.path.unlink(missing_ok=True)

    def _fetch(self, start: int, stop: int, urgent: bool) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._bring(start, stop, urgent))
        self._coming[task] = (start, stop, urgent)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._coming[task]
        if not task.cancelled():
            task.exception()  # those who wait raise it; nobody may wait any more

    async def _bring(self, start: int, stop: int, urgent: bool) -> None:
        body = await self.fetcher.read(self.name, start, stop, urgent=urgent)
        self._same(body)
        if stop - start <= INLINE:
            _write(self._fd, start, body.chunks)
        else:
            await self._write_in_thread(start, body.chunks)
        self._have.add(start, stop)

    async def _stream(self) -> None:
        """In one request, by a store that has no ranges."""

        def sink(body: Body) -> Sink:
            at = 0
            self._same(body)

            async def take(chunk: Any) -> None:
                nonlocal at
                await self._write_in_thread(at, [chunk])
                at += len(chunk)

            return take

        await self.fetcher.stream(self.name, sink)
        self._have.add(0, self.size_bytes)

    async def _write_in_thread(self, start: int, chunks: list[Any]) -> None:
        fd = os.dup(self._fd)  # close() may come while the thread writes: the number must not be another file's then
        try:
            await asyncio.shield(asyncio.to_thread(_write_and_close, fd, start, chunks))
        except RuntimeError:  # the interpreter ends
            os.close(fd)
            raise asyncio.CancelledError from None

    def _same(self, body: Body) -> None:
        if body.size_bytes != self.size_bytes:
            raise self._corrupt(f"it has {body.size_bytes:,} bytes, its index says {self.size_bytes:,}")
        if self._version not in {None, body.version}:
            raise self._corrupt("it was written anew while it was fetched")
        self._version = body.version

    def _corrupt(self, found: str) -> CorruptError:
        return CorruptError(
            asked=f"{self.fetcher.url}/{self.name} was asked for",
            found=found,
            do="Its bytes are not those that were written: write or copy this shard again.",
        )


async def _all(tasks: set[asyncio.Task[None]], *, cancel: bool = False) -> None:
    """Wait for all; the first error is raised at once. `cancel`: the rest ends with it."""
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        if cancel:
            for task in tasks:
                task.cancel()


def _write(fd: int, start: int, chunks: list[Any]) -> None:
    for chunk in chunks:
        view = memoryview(chunk)
        while view.nbytes:
            written = os.pwrite(fd, view, start)
            start += written
            view = view[written:]


def _write_and_close(fd: int, start: int, chunks: list[Any]) -> None:
    try:
        _write(fd, start, chunks)
    finally:
        os.close(fd)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
