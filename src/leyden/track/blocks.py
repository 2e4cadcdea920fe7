"""Which frames have come into a run's files since the last look? As numpy arrays, whole frames only, each byte once."""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from leyden.track.frames import HEADER, MAGIC, MAX_PAYLOAD_BYTES, next_whole, whole
from leyden.track.names import MAX_NAME_BYTES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FOLDER: Final = "metrics"
WORKER: Final = 1 << 30  # stands for a rank, after every one: what ranks say of themselves goes first
MAX_NAMES: Final = 100_000
CHUNK: Final = 8 << 20
_TICK_NS: Final = 2_000_000_000  # of a disk in this machine 4 ms, of one that is shared up to a second
_FILE: Final = re.compile(r"a(\d{1,9})-(?:r(\d{1,9})|w)\.frames$")


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """The rows of one frame. `values[k]` are those of key k. Names that are too long are left out."""

    names: tuple[str, ...]
    steps: Ints
    times: Floats
    values: Floats


@final
@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes of a file that are no frame."""

    path: Path
    offset: int
    size_bytes: int


@final
@dataclass(kw_only=True)
class FrameFile:
    """One file of frames and how far it was read."""

    path: Path
    attempt: int
    rank: int
    offset: int = 0
    seen: int = 0  # its size when it was last looked at

    @property
    def size(self) -> int:
        """How long it is now; -1 where it is gone, as it was sealed."""
        try:
            return os.stat(self.path).st_size  # noqa: PTH116  twice as fast, and asked all day
        except OSError:
            return -1

    @property
    def fresh(self) -> bool:
        """Whether it has changed since."""
        return self.size not in (self.seen, -1)


@final
class Frames:
    """All files of frames of one run, read on and on. For one thread at a time."""

    def __init__(self, run_dir: Path, offsets: Mapping[str, int] | None = None) -> None:
        self._folder = run_dir / FOLDER
        self._offsets = dict(offsets or {})
        self._folder_stamp = 0
        self.files: dict[str, FrameFile] = {}
        self.damage: list[Damage] = []
        self.too_long = 0  # names that were left out
        self._names: dict[bytes, tuple[tuple[str, ...], list[int] | None]] = {}
        self._last = b""  # the names of the newest frame, as they stand there: mostly the next one has the same

    def look(self) -> list[FrameFile]:
        """Those with something new, in the order in which they count: by rank, then by attempt."""
        try:
            stamp = os.stat(self._folder).st_mtime_ns  # noqa: PTH116
        except OSError:
            return []
        if stamp != self._folder_stamp:
            # Another file may come within the same tick of the file system's clock: look again until that is over.
            self._folder_stamp = stamp if abs(time.time_ns() - stamp) > _TICK_NS else 0
            for name in os.listdir(self._folder):  # noqa: PTH208  names only
                if name not in self.files and (match := _FILE.match(name)):
                    rank = int(match[2]) if match[2] is not None else WORKER
                    known = FrameFile(path=self._folder / name, attempt=int(match[1]), rank=rank)
                    known.offset = self._offsets.get(name, 0)
                    self.files[name] = known
        return [one for one in self.in_order() if one.fresh]

    def in_order(self) -> list[FrameFile]:
        """All of them, by rank, then by attempt."""
        return sorted(self.files.values(), key=lambda one: (one.rank, one.attempt))

    def again(self, file: FrameFile) -> Iterator[Block]:
        """What was read of it before."""
        known, self.damage = self.damage, []
        yield from self.read(FrameFile(path=file.path, attempt=file.attempt, rank=file.rank), upto=file.offset)
        self.damage = known

    def read(self, file: FrameFile, *, upto: int | None = None) -> Iterator[Block]:
        """Its whole frames behind the offset, which moves on; an unfinished one at the end waits."""
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            file.seen = os.fstat(descriptor).st_size if upto is None else upto
            file.offset = min(file.offset, file.seen)
            chunk = CHUNK
            while file.offset < file.seen:
                data = os.pread(descriptor, min(chunk, file.seen - file.offset), file.offset)
                start, last = file.offset, file.offset + len(data) >= file.seen
                yield from self._split(file, data)
                if file.offset == start:
                    if last or chunk > MAX_PAYLOAD_BYTES:
                        return
                    chunk *= 2  # a frame larger than that
        finally:
            os.close(descriptor)

    def _split(self, file: FrameFile, data: bytes) -> Iterator[Block]:
        at, start = 0, file.offset
        while at < len(data):
            end = whole(data, at)
            block = self._parse(data, at + HEADER.size, end) if end else None
            if block is None:
                following = end or next_whole(data, at + 1)
                if not following:
                    following = _where_one_may_begin(data, at)
                if following > at:
                    self.damage.append(Damage(path=file.path, offset=start + at, size_bytes=following - at))
                    at = following
                    file.offset = start + at
                    continue
                return  # it may be the beginning of one that is being written
            at = end
            file.offset = start + at
            yield block

    def _parse(self, data: bytes, at: int, end: int) -> Block | None:
        """None where what the checksum covers makes no sense."""
        try:
            names, keep, at = self._keys(data, at, end)
            (rows,) = struct.unpack_from("<I", data, at)
            keys = len(names) if keep is None else keep[-1]
            if at + 4 + 8 * rows * (keys + 2) != end:
                return None
            numbers = np.frombuffer(data, "<f8", rows * (keys + 2), at + 4).astype(np.float64, copy=False)
        except (struct.error, UnicodeDecodeError, IndexError, ValueError):
            return None
        table = numbers.reshape(keys + 2, rows)
        values = table[2:] if keep is None else table[2:][keep[:-1]]
        return Block(names=names, steps=table[0].view(np.int64), times=table[1], values=values)

    def _keys(self, data: bytes, at: int, end: int) -> tuple[tuple[str, ...], list[int] | None, int]:
        """Names, which columns stay (and how many there were) where some do not, and where the rows begin."""
        start, last = at, self._last
        if last and data.startswith(last, at) and at + len(last) <= end:
            return *self._names[last], at + len(last)
        (count,) = struct.unpack_from("<H", data, at)
        at += 2
        for _ in range(count):
            at += 2 + data[at] + (data[at + 1] << 8)
        if at > end:
            raise ValueError
        self._last = data[start:at]
        known = self._names.get(self._last)
        if known is None:
            if len(self._names) >= 10_000:
                self._names.clear()
            known = self._names[self._last] = _decode(data, start + 2, count)
            self.too_long += count - len(known[0])
        return *known, at


def _decode(data: bytes, at: int, count: int) -> tuple[tuple[str, ...], list[int] | None]:
    names, keep = [], []
    for index in range(count):
        (size,) = struct.unpack_from("<H", data, at)
        if 0 < size <= MAX_NAME_BYTES:
            names.append(data[at + 2 : at + 2 + size].decode())
            keep.append(index)
        at += 2 + size
    return tuple(names), None if len(keep) == count else [*keep, count]


def _where_one_may_begin(data: bytes, at: int) -> int:
    """Before the end, no whole frame follows: the first place whose frame may still be written."""
    while at != -1 and at + HEADER.size <= len(data):
        magic, size, _ = HEADER.unpack_from(data, at)
        if magic == MAGIC and size <= MAX_PAYLOAD_BYTES and at + HEADER.size + size > len(data):
            return at
        at = data.find(MAGIC, at + 1)
    if at != -1:
        return at
    tail = max(len(data) - len(MAGIC) + 1, 0)
    return next((one for one in range(tail, len(data)) if MAGIC.startswith(data[one:])), len(data))
