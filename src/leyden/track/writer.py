"""How do metrics get from the training thread to disk without slowing it?

The training thread appends a row to a list; a daemon thread, one for all writers of the process, drains it four times a
second into frames. So a log call costs well under a microsecond, and `kill -9` loses at most a quarter of a second.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import SupportsFloat

from leyden.core.errors import RecordError
from leyden.track import frames

DRAIN_S = 0.25
MAX_WAITING_ROWS = 1_000_000  # about half a gigabyte; only reached when the disk refuses writes for long
ROWS_AT_ONCE = 10_000  # so that a try on a full disk costs the program milliseconds, however much waits
MAX_FRAME_NUMBERS = 1 << 20  # 8 MB: far below what a reader takes for damage
MAX_FRAME_KEYS = 10_000

Row = tuple[int, float, Mapping[str, SupportsFloat]]  # step, `time.monotonic()`, values


class MetricWriter:
    """Appends rows of metrics to one file. `append` takes a row, whose values must not be changed afterwards.

    Made to be called from one thread; `close` may be called twice.
    """

    def __init__(self, path: Path, *, drain_s: float = DRAIN_S) -> None:
        self._path = path
        self._drain_s = drain_s
        self._rows: list[Row] = []
        self._fd = -1
        self._closed = False
        self._epoch = time.time() - time.monotonic()  # times of one file never run backwards, whatever the clock does
        self._due = time.monotonic() + drain_s - DRAIN_S  # so that the next turn of the thread is the first
        self._writing = threading.Lock()
        self._told: set[str] = set()
        self.append: Callable[[Row], None] = self._first
        _writers.add(self)

    def add(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Take one row; `values` must not be changed afterwards."""
        self.append((step, time.monotonic(), values))

    def flush(self) -> None:
        """Write what waits, now."""
        with self._writing:
            self._drain()

    def close(self) -> None:
        """Write what waits and let go of the file."""
        if self._closed:
            return
        self._closed = True
        self.append = self._first  # which refuses a row that comes later
        _drainer.leave(self)
        with self._writing:
            self._drain()
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        _writers.discard(self)

    def _first(self, row: Row) -> None:
        if self._closed:
            raise RecordError(
                asked=f"a metric was logged to {self._path}", found="the run is finished", do="Log before it ends."
            )
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        _drainer.join(self)
        self._rows.append(row)
        self.append = self._rows.append  # from here on a row costs no more than that

    def drain_when_due(self, now: float) -> None:
        """What the thread does for it at each turn."""
        if now >= self._due:
            self._due = now + self._drain_s
            self.flush()

    def _drain(self) -> None:
        # Forward with the clock of the world, which goes on while a laptop sleeps; never back.
        self._epoch = max(self._epoch, time.time() - time.monotonic())
        left = len(self._rows)
        while left > 0 and self._fd >= 0:
            rows = self._rows[: min(left, ROWS_AT_ONCE)]
            if not self._write(b"".join(encode_rows(rows, self._epoch))):
                break
            del self._rows[: len(rows)]
            left -= len(rows)
        if (beyond := len(self._rows) - MAX_WAITING_ROWS) > 0:
            del self._rows[:beyond]
            self._complain(f"{MAX_WAITING_ROWS:,} rows wait; those before them are lost")

    def _write(self, data: bytes) -> bool:
        """Whether the file has it; else nothing of it."""
        size = -1
        try:
            size = os.fstat(self._fd).st_size
            if os.write(self._fd, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if size >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, size)  # half a frame must not stand before whole ones
            self._complain(f"{error.strerror}; training goes on and they are kept in memory and tried again")
            return False
        return True

    def _complain(self, why: str) -> None:
        """Once of each kind."""
        if why not in self._told:
            self._told.add(why)
            with contextlib.suppress(Warning):  # under `python -W error` the thread must not end
                warnings.warn(f"metrics cannot be written to {self._path}: {why}. Make room on the disk.", stacklevel=2)

    def _forget(self) -> None:
        """In a forked child: the parent writes its rows, and the thread does not live here."""
        self._rows = []
        self.append = self._first
        self._writing = threading.Lock()


class _Drainer:
    """The thread, which lives while any writer has a file open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writers: set[MetricWriter] = set()
        self._thread: threading.Thread | None = None

    def join(self, writer: MetricWriter) -> None:
        """From now on its rows are written."""
        with self._lock:
            self._writers.add(writer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="leyden-metrics", daemon=True)
                self._thread.start()

    def leave(self, writer: MetricWriter) -> None:
        """No more."""
        with self._lock:
            self._writers.discard(writer)

    def _work(self) -> None:
        while True:
            time.sleep(DRAIN_S)
            with self._lock:
                writers = list(self._writers)
                if not writers:
                    self._thread = None
                    return
            for one in writers:
                with contextlib.suppress(Exception):  # trouble of one must not end the writing of the others
                    one.drain_when_due(time.monotonic())


def encode_rows(rows: Sequence[Row], epoch: float) -> Iterator[bytes]:
    """Frames of these rows; `epoch` is added to their times."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[2]), []).append(row)
    for keys, group in groups.items():
        most = max(1, MAX_FRAME_NUMBERS // max(1, len(keys)))
        for first in range(0, len(group), most):
            yield from _narrow(keys, group[first : first + most], epoch)


def _narrow(keys: tuple[str, ...], rows: Sequence[Row], epoch: float) -> Iterator[bytes]:
    """The rows in frames of so many keys at most."""
    steps, times = [step for step, _, _ in rows], [epoch + moment for _, moment, _ in rows]
    numbers = [_numbers(values) for _, _, values in rows]
    if len(keys) <= MAX_FRAME_KEYS:
        yield frames.encode(keys, steps, times, numbers)
        return
    for first in range(0, len(keys), MAX_FRAME_KEYS):
        part = slice(first, first + MAX_FRAME_KEYS)
        yield frames.encode(keys[part], steps, times, [row[part] for row in numbers])


def _numbers(values: Mapping[str, SupportsFloat]) -> list[float]:
    try:
        return [float(value) for value in values.values()]
    except Exception:  # one of them must not cost the others
        return [_number(value) for value in values.values()]


def _number(value: SupportsFloat) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.copysign(math.inf, 1 if value > 0 else -1)  # type: ignore[operator]
    except Exception:  # a tensor of a device that failed
        return math.nan


_writers: weakref.WeakSet[MetricWriter] = weakref.WeakSet()
_drainer = _Drainer()


def _close_all() -> None:
    for writer in list(_writers):
        writer.close()


def _forget_all() -> None:
    global _drainer  # noqa: PLW0603  its thread does not live here
    _drainer = _Drainer()
    for writer in list(_writers):
        writer._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
