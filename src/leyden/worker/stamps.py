"""When was each line printed?

Ranks write straight to their log files (docs/adr/0004), so nobody stands between to stamp a line. The worker looks at
the files instead and notes, where one grew, how long it was at which moment: 20 times a second while they grow, four
times a second after some silence (waking up is what costs: 0.1 ms), 16 bytes each.

logs/a1-r0.times: pairs of u64 bytes so far, f64 seconds since 1970 (UTC), little-endian. A byte was printed at the time
of the first pair that reaches beyond it, or that little before.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

EVERY_S, SELDOM_S = 0.05, 0.25
_PAIR = struct.Struct("<Qd")


@final
class Stamps:
    """Notes how the logs of an attempt grow."""

    def __init__(
        self, logs: Sequence[Path], clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._logs = [_Log(path) for path in logs]
        self._ticks = ticks
        self._epoch = clock() - ticks()  # times of one file never run backwards, whatever the clock does

    def note(self) -> bool:
        """Look at each of them once; whether any grew. What a full disk does not take is tried at the next look."""
        return sum(log.note(self._epoch, self._ticks) for log in self._logs) > 0

    def close(self) -> None:
        """Look a last time."""
        self.note()
        for log in self._logs:
            log.close()


class _Log:
    """One log and the file of its pairs."""

    def __init__(self, path: Path) -> None:
        self._path, self._noted = path, 0
        self._pairs, self._count = -1, 0

    def note(self, epoch: float, ticks: Callable[[], float]) -> bool:
        try:
            size = os.stat(self._path).st_size  # noqa: PTH116  20 times a second: a third of the time
            if size <= self._noted:
                return False
            if self._pairs < 0:
                mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._pairs = os.open(_file_of(self._path), mode, 0o644)
            if os.write(self._pairs, _PAIR.pack(size, epoch + ticks())) < _PAIR.size:
                os.ftruncate(self._pairs, self._count * _PAIR.size)  # half a pair would shift all after it
                return False
        except OSError:
            return False
        self._noted, self._count = size, self._count + 1
        return True

    def close(self) -> None:
        if self._pairs >= 0:
            os.close(self._pairs)
            self._pairs = -1


def read_stamps(log: Path, *, after: int = 0, most: int = 10_000) -> list[tuple[int, float]]:
    """Of a log, the pairs that reach beyond byte `after`, the first ones; none where nothing was noted."""
    try:
        with _file_of(log).open("rb") as file:
            count = os.fstat(file.fileno()).st_size // _PAIR.size
            low, high = 0, count
            while low < high:
                middle = (low + high) // 2
                file.seek(middle * _PAIR.size)
                if _PAIR.unpack(file.read(_PAIR.size))[0] <= after:
                    low = middle + 1
                else:
                    high = middle
            file.seek(low * _PAIR.size)
            data = file.read(min(most, count - low) * _PAIR.size)
    except FileNotFoundError:
        return []
    return list(_PAIR.iter_unpack(data))


def _file_of(log: Path) -> Path:
    return log.with_suffix(".times")
