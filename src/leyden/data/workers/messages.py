"""What do parent and workers tell each other? Small things: where samples lie, and where the batch lies."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

from leyden.core.errors import LeydenError
from leyden.data.plan.base import Picks
from leyden.data.sources.base import Source
from leyden.data.tiers.base import Local

_HEAD: Final = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A batch of the plan: positions start:stop of the epoch; the next global batch begins at `after`."""

    epoch: int
    start: int
    stop: int
    after: int
    is_last: bool  # of its epoch
    picks: Picks


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What every worker knows from its start."""

    sources: Sequence[Source]
    join: Callable[[Sequence[Any]], Any] | None  # of packed items
    transform: Callable[..., Any] | None
    takes_rng: bool
    collate: Callable[[list[Any]], Any] | None
    seed: int
    skips: bool  # whether a bad sample is left out instead of ending it all

    @property
    def seeds_globals(self) -> bool:
        """Whether the generators of random, numpy and torch are set for each sample, as its code may draw from them."""
        own = self.transform is not None and not self.takes_rng
        return own or any(not source.root for source in self.sources)


Record = tuple[int, int, int]  # offset, length, crc32c


class Task(NamedTuple):
    """A batch to be made. Plain lists: they are pickled ten times faster than arrays of a few numbers."""

    number: int
    slot: int
    epoch: int
    start: int  # position of its first item
    shards: list[int]  # [pieces], as in Picks
    samples: list[int]
    ends: list[int] | None
    spans: list[list[int]] | None
    files: dict[int, tuple[str, list[Record] | None]]  # by shard: path; where its samples lie, in their order here
    last_chance: bool  # there is no better copy of a corrupt sample: skip it if `Setup.skips`

    @property
    def items(self) -> int:
        """Items."""
        return len(self.shards if self.ends is None else self.ends)

    @staticmethod
    def of(work: Work, *, number: int, slot: int, files: Mapping[int, Local], last_chance: bool) -> Task:
        """The task for this piece of the plan, now that its bytes are there."""
        picks, found = work.picks, {}
        for shard, local in files.items():
            found[shard] = local.path, None if local.records is None else local.records.tolist()
        ends = None if picks.ends is None else picks.ends.tolist()
        spans = None if picks.spans is None else picks.spans.tolist()
        shards, samples = picks.shards.tolist(), picks.samples.tolist()
        return Task(number, slot, work.epoch, work.start, shards, samples, ends, spans, found, last_chance)


class Times(NamedTuple):
    """Seconds a batch took in its worker, by cause, and pixels of its pictures."""

    fetch: float = 0.0  # reading it from this host
    decode: float = 0.0
    transform: float = 0.0
    copy: float = 0.0
    cpu: float = 0.0  # of the thread, all in all
    queued: float = 0.0  # seconds the thread could run but had no processor
    pictures: int = 0
    stored: int = 0
    used: int = 0
    elapsed: float = (
        0.0  # seconds from when a thread could have begun until it was done, waits for Python's lock included
    )

    @property
    def total(self) -> float:
        """Seconds, all in all."""
        return self.fetch + self.decode + self.transform + self.copy


class Answer(NamedTuple):
    """A batch that lies in its slot, or why it does not."""

    number: int
    tree: Any = None
    size: int = 0  # bytes of the slot that are used
    items: int = 0
    skipped: tuple[str, ...] = ()  # what was wrong with each sample left out
    times: Times = Times()
    error: LeydenError | None = None
    trace: str = ""  # the traceback of what led to `error`
    corrupt: int | None = None  # the shard, if `error` is a CorruptError


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """A worker has begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A worker could not begin."""

    trace: str


@final
class Channel:
    """Messages over a socket, in the order they were sent."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._in, self._out = end, bytearray(), bytearray()
        self._buffer = memoryview(bytearray(1 << 16))

    def fileno(self) -> int:
        """Readable when a message, or the end, has come."""
        return self._end.fileno()

    def send(self, message: Any) -> None:
        """Wait until it is on its way. Raises OSError if the other side is gone."""
        self._end.sendall(_pack(message))

    def wait(self) -> Any:
        """The next message. Raises EOFError if the other side is gone."""
        size = _HEAD.unpack(self._read(_HEAD.size))[0]
        return pickle.loads(self._read(size))

    def post(self, message: Any = None) -> None:
        """Never waits: what the socket does not take now goes with a later call. Silent if nobody is there."""
        if message is not None:
            self._out += _pack(message)
        while self._out:
            try:
                sent = self._end.send(self._out, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                self._out.clear()
                return
            del self._out[:sent]

    def fetch(self) -> list[Any]:
        """All messages that are here. Raises EOFError when they have been read and the other side is gone."""
        is_over = False
        while True:
            try:
                count = self._end.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                count = 0
            self._in += self._buffer[:count]
            is_over = count == 0
            if count < len(self._buffer):
                break
        found = self._split()
        if is_over and not found:
            raise EOFError
        return found

    def _split(self) -> list[Any]:
        found, start, view = [], 0, bytes(self._in)
        while start + _HEAD.size <= len(view):
            (size,) = _HEAD.unpack_from(view, start)
            stop = start + _HEAD.size + size
            if stop > len(view):
                break
            found.append(pickle.loads(view[start + _HEAD.size : stop]))
            start = stop
        del self._in[:start]
        return found

    def _read(self, size: int) -> bytearray:
        found = bytearray(size)
        view = memoryview(found)
        while view:
            count = self._end.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return found

    def close(self) -> None:
        """Twice does no harm."""
        self._end.close()


def _pack(message: Any) -> bytes:
    try:
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):  # things of the user's __main__ go by value
        import cloudpickle

        body = cloudpickle.dumps(message)
    return _HEAD.pack(len(body)) + body
