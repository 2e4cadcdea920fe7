"""How do metrics get from the training thread to disk without slowing it?

The training thread appends a row to a list; a daemon thread drains it four times a second into frames. So a log call
costs well under a microsecond, and `kill -9` loses at most a quarter of a second of points.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat

from leyden.core.errors import RecordError
from leyden.track import frames

DRAIN_S = 0.25
MAX_WAITING_ROWS = 1_000_000  # about 300 MB; only reached when the disk refuses writes for long

Row = tuple[int, float, Mapping[str, SupportsFloat]]


class MetricWriter:
    """Appends rows of metrics to one file. Made to be called from one thread; `close` may be called twice."""

    def __init__(self, path: Path, *, drain_s: float = DRAIN_S) -> None:
        self._path = path
        self._drain_s = drain_s
        self._rows: list[Row] = []
        self._fd = -1
        self._closed = False
        self._epoch = time.time() - time.monotonic()  # times of one file never run backwards, whatever the clock does
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warned = False
        _writers.add(self)

    def add(self, step: int, values: Mapping[str, SupportsFloat]) -> None:
        """Take one row; `values` must not be changed afterwards."""
        if self._thread is None:
            self._start()
        self._rows.append((step, self._epoch + time.monotonic(), values))

    def flush(self) -> None:
        """Write what waits, now."""
        with self._writing:
            self._drain()

    def close(self) -> None:
        """Write what waits and let go of the file."""
        if self._closed:
            return
        self._closed = True
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        _writers.discard(self)

    def _start(self) -> None:
        if self._closed:
            raise RecordError(
                asked=f"a metric was logged to {self._path}", found="the run is finished", do="Log before it ends."
            )
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._thread = threading.Thread(target=self._work, name="leyden-metrics", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._closing.wait(self._drain_s):
            with self._writing:
                self._drain()

    def _drain(self) -> None:
        count = len(self._rows)
        if not count or self._fd < 0:
            return
        rows = self._rows[:count]
        data = b"".join(_frames(rows))
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(self._fd, size)  # half a frame must not stand before whole ones
            self._complain(error)
            if count < MAX_WAITING_ROWS:
                return
        del self._rows[:count]

    def _complain(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"metrics cannot be written to {self._path}: {error.strerror}; training goes on and they are kept in "
                "memory and tried again. Make room on the disk.",
                stacklevel=2,
            )

    def _forget(self) -> None:
        """In a forked child: the parent writes its rows, and its thread does not live here."""
        self._rows = []
        self._thread = None
        self._writing = threading.Lock()


def _frames(rows: list[Row]) -> list[bytes]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[2]), []).append(row)
    return [
        frames.encode(
            keys,
            [step for step, _, _ in group],
            [moment for _, moment, _ in group],
            [[float(value) for value in values.values()] for _, _, values in group],
        )
        for keys, group in groups.items()
    ]


_writers: weakref.WeakSet[MetricWriter] = weakref.WeakSet()


def _close_all() -> None:
    for writer in list(_writers):
        writer.close()


def _forget_all() -> None:
    for writer in list(_writers):
        writer._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
