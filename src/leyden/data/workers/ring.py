"""Where do batches lie, so that they are neither pickled nor copied on their way?

In one nameless file in memory (memfd: nothing to clean up after a SIGKILL, no limit but memory), cut into slots that
lie STRIDE bytes apart. The file is sparse and a slot is mapped only as far as it is used, so it grows by itself when a
batch is larger than those before. Slot 0 is the board on which workers write what they are doing.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

STRIDE: Final = 1 << 40
ALIGN: Final = 64  # bytes: a cache line, and what torch aligns to
_GRAIN: Final = 1 << 16
_SLOTS: Final = 1 << 12
Bytes = NDArray[np.uint8]


@final
class Memory:
    """The file, seen from one process; workers get its descriptor."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("leyden-batches", os.MFD_CLOEXEC) if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, _SLOTS * STRIDE)
        self._maps: dict[int, mmap.mmap] = {}

    def map(self, slot: int, size: int) -> mmap.mmap:
        """At least the first `size` bytes of a slot. Arrays over a former, shorter mapping see the same bytes."""
        found = self._maps.get(slot)
        if found is None or len(found) < size:
            length = max(-(-size // _GRAIN) * _GRAIN, 2 * len(found) if found else 0)
            found = self._maps[slot] = mmap.mmap(self.fd, length, offset=slot * STRIDE)
        return found

    def close(self) -> None:
        """Let go; arrays handed out stay valid."""
        self._maps.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@final
class Arena:
    """One slot while a batch is written into it."""

    def __init__(self, memory: Memory, slot: int) -> None:
        self._memory, self._slot, self.used = memory, slot, 0

    def take(self, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[int, NDArray]:  # type: ignore[type-arg]
        """Offset in the slot, and a new array there."""
        start = -(-self.used // ALIGN) * ALIGN
        size = dtype.itemsize
        for length in shape:
            size *= length
        self.used = start + size
        buffer = self._memory.map(self._slot, max(self.used, 1))
        return start, np.ndarray(shape, dtype, buffer=buffer, offset=start)


@final
class Slots:
    """Which slots are free, in the parent. Used by one thread, but arrays may die in any."""

    def __init__(self, memory: Memory, *, keep: int) -> None:
        self._memory, self.keep = memory, keep
        self._free: list[int] = []
        self._next = 1
        self._held: dict[int, weakref.ref[Bytes]] = {}
        self._returned: deque[int] = deque()
        self.mapped: Callable[[mmap.mmap], None] = lambda _: None  # told of each buffer batches are handed out from

    def take(self) -> int:
        """A free slot, the one used last first: its pages are warm."""
        self._collect()
        if not self._free:
            self._free.append(self._next)
            self._next += 1
        return self._free.pop()

    def give(self, slot: int) -> None:
        """Nobody writes or reads it any more."""
        self._free.append(slot)

    def hand_out(self, slot: int, size: int) -> Bytes:
        """The slot's bytes. It is free again once the last array or tensor over them is gone.

        If the caller holds `keep` slots already (a list of batches), it gets a copy and the slot is free at once.
        """
        self._collect()
        buffer = self._memory.map(slot, max(size, 1))
        whole: Bytes = np.frombuffer(buffer, np.uint8, size)
        if len(self._held) >= self.keep or not size:
            self._free.append(slot)
            return whole.copy()
        self.mapped(buffer)
        returned = self._returned
        self._held[slot] = weakref.ref(whole, lambda _: returned.append(slot))
        return whole

    def _collect(self) -> None:
        while self._returned:
            slot = self._returned.popleft()
            del self._held[slot]
            self._free.append(slot)
