"""When does a run that has ended become one file?

Its frames become metrics.parquet (track/sealed.py) where they are many enough that reading them takes time. The file
appears by a rename after it was read back and compared; only then the frames go. Without pyarrow they stay.
"""

from __future__ import annotations

import os
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np

from leyden.server.tracking.archive import Archive
from leyden.track.blocks import FOLDER
from leyden.track.points import RunPoints
from leyden.track.pyramid import Pyramid
from leyden.track.sealed import KEPT, SEALED, Kept, Sealed, has_pyarrow, write_sealed

LEAST_BYTES: Final = 256 << 10  # frames of fewer are read as fast
LONGEST_PAUSE_S: Final = 60.0
MOST_BYTES: Final = 1 << 30  # all points of a run are in memory while it is sealed


@final
class Sealer(threading.Thread):
    """Seals one run after the other; `done` is told of each, with the new file or None where none was made.

    In between the archive sends what was sealed, also by the servers before; what cannot be sent is tried again.
    """

    def __init__(self, done: Callable[[str, Sealed | None], None], archive: Archive) -> None:
        super().__init__(name="sealing", daemon=True)
        self._done, self._archive = done, archive
        self._waiting: queue.SimpleQueue[tuple[str, Path, int] | None] = queue.SimpleQueue()
        self._closed, self._trouble = False, ""

    def add(self, run_id: str, folder: Path, dropped: int) -> None:
        """This run has ended."""
        self._waiting.put((run_id, folder, dropped))

    def close(self) -> None:
        """End after the run that is being sealed."""
        self._closed = True
        self._waiting.put(None)
        if self.is_alive():
            self.join(timeout=5.0)

    def run(self) -> None:
        """Until closed."""
        unsent, pause_s = self._archive.unkept(), 0.0
        while True:
            try:
                one = self._waiting.get(timeout=pause_s if unsent else None)
            except queue.Empty:
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s + 1) if self._send(unsent) else 0.0
                continue
            if one is None or self._closed:
                return
            run_id, folder, dropped = one
            try:
                self._done(run_id, seal(folder, dropped=dropped))
                unsent.add(run_id)
            except Exception:  # e.g. the disk is full: the frames stay as they are
                traceback.print_exc()

    def _send(self, unsent: set[str]) -> str:
        """Keep these elsewhere, as far as that is possible now; why it is not."""
        for run_id in sorted(unsent):
            try:
                self._archive.keep(run_id)
                unsent.discard(run_id)
            except FileNotFoundError:  # nothing was sealed, or the run is gone
                unsent.discard(run_id)
            except Exception as error:  # the store is away, the disk is full
                if str(error) != self._trouble:
                    print(f"points of run {run_id} wait for their store: {error}", flush=True)
                self._trouble = str(error)
                return self._trouble
            if self._closed:
                break
        self._trouble = ""
        return ""


def is_worth_it(folder: Path) -> bool:
    """Whether a run that has ended may become one file; else its frames stay as they are."""
    sizes = [one.stat().st_size for one in (folder / FOLDER).glob("*.frames")]
    return bool(sizes) and (sum(sizes) >= LEAST_BYTES or (folder / SEALED).is_file())


def seal(folder: Path, *, dropped: int = 0, least_bytes: int = LEAST_BYTES) -> Sealed | None:
    """Make one file of a run's frames; None where they are to stay. Raises OSError."""
    files = sorted((folder / FOLDER).glob("*.frames"))
    sizes = {one.name: one.stat().st_size for one in files}
    if (before := _left_by_a_killed_server(folder, files, sizes)) is not None:
        return before
    if not least_bytes <= sum(sizes.values()) <= MOST_BYTES or not has_pyarrow():
        return None
    points = RunPoints(folder, all_bytes=MOST_BYTES)
    points.refresh(None)
    curves = _whole(points)
    if not curves:
        return None
    draft = folder / f".{SEALED}.{os.getpid()}"
    try:
        write_sealed(draft, curves, points.offsets, dropped)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        if not _is_same(Sealed(draft), curves) or {one.name: one.stat().st_size for one in files} != sizes:
            return None
        (folder / KEPT).unlink(missing_ok=True)  # what a store has is the file before
        draft.replace(folder / SEALED)
    finally:
        draft.unlink(missing_ok=True)
    for one in files:
        one.unlink()
    return Sealed(folder / SEALED)


def _left_by_a_killed_server(folder: Path, files: Sequence[Path], sizes: dict[str, int]) -> Sealed | None:
    """What was sealed just before, if it only was left to remove its frames."""
    if not files or not (folder / SEALED).is_file():
        return None
    found, at = Sealed(folder / SEALED), (folder / SEALED).stat().st_mtime_ns
    if found.index.files != sizes or any(one.stat().st_mtime_ns > at for one in files):
        return None
    for one in files:
        one.unlink()
    return found


def _whole(points: RunPoints) -> list[Kept]:
    """All curves in memory, those too that were sealed before."""
    found: list[Kept] = []
    for rank, name in points.metrics():
        curve = points.curve(rank, name)
        if curve is None or not curve.count:
            continue
        if not isinstance(curve, Pyramid):
            some, curve = curve.points(0, curve.count), Pyramid()
            curve.append(some.steps, some.times, some.values)
        found.append((rank, name, curve))
    return found


def _is_same(file: Sealed, curves: Sequence[Kept]) -> bool:
    for rank, name, curve in curves:
        read = file.curve(rank, name)
        if read is None or read.count != curve.count:
            return False
        for start in range(0, curve.count, 1 << 20):
            stop = min(curve.count, start + (1 << 20))
            one, other = curve.points(start, stop), read.points(start, stop)
            if not (
                np.array_equal(one.steps, other.steps)
                and np.array_equal(one.times, other.times, equal_nan=True)
                and np.array_equal(one.values, other.values, equal_nan=True)
            ):
                return False
    return True
