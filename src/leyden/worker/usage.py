"""What has an attempt used of the machine, second by second?

A thread looks: a driver that hangs must not hold up a time limit. CPU, memory, reads and writes are sums over each
rank's session; what ended in between is counted by its parent, as the kernel hands it on.

metrics/a1-w.frames   the record: `system/…`, each second in the first minute, then each ten seconds
attempts/a1/use       the newest row alone, overwritten in place: what `leyden top` reads
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from leyden.engines import record
from leyden.engines.base import Launch, attempt_folder
from leyden.worker.idle import MARK_PERCENT, NOTHING_FAKE_PERCENT, NOTHING_PERCENT, Quiet

if TYPE_CHECKING:
    from leyden.worker.gauges import GpuGauge, GpuUse, Use

EVERY_S: Final = 1.0
DENSE_ROWS: Final = 60
THIN: Final = 10
PREFIX: Final = "system/"


@final
class Usage(threading.Thread):
    """Samples until closed. What goes wrong with it is its own trouble, never the job's."""

    def __init__(
        self,
        launch: Launch,
        ranks: Sequence[record.Process],
        *,
        started_at: float,
        every_s: float = EVERY_S,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="usage", daemon=True)
        self._launch, self._sessions = launch, [rank.pid for rank in ranks]
        self._started_at, self._every_s, self._ticks = started_at, every_s, ticks
        self._closing = threading.Event()
        self.idle_s = 0.0  # for how long, by the newest sample, none of its GPUs did anything

    def close(self) -> None:
        """Sample no more."""
        self._closing.set()
        if self.is_alive():
            self.join(0.5)

    def run(self) -> None:
        """Until closed."""
        begun = self._ticks()
        if self._closing.wait(self._every_s):
            return  # short jobs never pay for the imports
        try:
            self._work(begun)
        except Exception:
            traceback.print_exc()

    def _work(self, begun: float) -> None:
        from leyden.worker.gauges import RankGauges

        ranks, book = RankGauges(self._sessions, now=begun), _Book(self._launch, self._started_at, begun)
        gpus, below = self._gpu_gauge()
        nothing = Quiet(below=below, now=begun)
        marks = {index: Quiet(below=MARK_PERCENT, now=begun) for index in self._launch.gpus}
        while True:
            now = self._ticks()
            used = ranks.sample(now=now)
            row = _of_ranks(used)
            if gpus:
                found = gpus.sample(used)
                for index, one in found.items():
                    row |= _of_gpu(index, one, marks[index].seconds(one.use_percent, now=now))
                self.idle_s = nothing.seconds(self._busiest(found), now=now)
            book.add(row, now)
            if self._closing.wait(self._every_s):
                return

    def _busiest(self, found: Mapping[int, GpuUse]) -> float | None:
        """By what the job itself does: on a shared GPU others work too. None where that is not known of each."""
        each = [one.own_percent if self._launch.gpu_shared else one.use_percent for one in found.values()]
        known = [percent for percent in each if percent is not None]
        return max(known) if len(known) == len(each) else None

    def _gpu_gauge(self) -> tuple[GpuGauge | None, float]:
        """What reads its GPUs, and below how many percent they do nothing."""
        from leyden.worker.gauges import FakeGauge, nvidia_gauge

        if not self._launch.gpus:
            return None, NOTHING_PERCENT
        if self._launch.fake_gpus:
            return FakeGauge(self._launch.gpus, shared=self._launch.gpu_shared), NOTHING_FAKE_PERCENT
        own = self._sessions if self._launch.gpu_shared else ()
        return nvidia_gauge(self._launch.gpus, own=own), NOTHING_PERCENT


@final
class _Book:
    """Writes rows down. A full disk costs rows."""

    def __init__(self, launch: Launch, started_at: float, begun: float) -> None:
        first = record.read_worker(attempt_folder(Path(launch.run_dir), 1))
        # Steps are seconds since the first attempt started, so they go on rising in the next one.
        self._offset_s = max(0.0, started_at - ((first and first.started_at) or started_at)) - begun
        self._epoch = started_at - begun
        self._record = Path(launch.run_dir) / f"metrics/a{launch.number}-w.frames"
        self._newest = launch.folder / USE
        self._rows: list[dict[str, float]] = []
        self._written = 0

    def add(self, row: dict[str, float], now: float) -> None:
        """Take a row, and write what is due."""
        from leyden.track import frames

        step, at = round(now + self._offset_s), now + self._epoch
        try:
            _overwrite(self._newest, frames.encode(list(row), [step], [at], [list(row.values())]))
            self._rows.append(row)
            if self._written < DENSE_ROWS or len(self._rows) >= THIN:
                mean = _mean(self._rows)
                _append(self._record, frames.encode(list(mean), [step], [at], [list(mean.values())]))
                self._written += 1
                self._rows = []
        except OSError:
            self._rows = self._rows[-THIN:]


USE: Final = "use"


def read_use(folder: Path) -> tuple[float, dict[str, float]] | None:
    """The newest sample of the attempt in that folder, and when it was written; None where there is none."""
    from leyden.track import frames

    try:
        written_at = (folder / USE).stat().st_mtime  # by the clock as it is set now, unlike the frame's own
        found = list(frames.decode((folder / USE).read_bytes()))
    except OSError:
        return None
    if len(found) != 1 or not isinstance(frame := found[0], frames.Frame) or not frame.steps:
        return None  # it is just being overwritten
    return written_at, {key: column[-1] for key, column in zip(frame.keys, frame.values, strict=True)}


def _of_ranks(used: Sequence[Use]) -> dict[str, float]:
    prefixes = [PREFIX] if len(used) == 1 else [f"{PREFIX}rank{rank}/" for rank in range(len(used))]
    pairs = zip(prefixes, used, strict=True)
    return {f"{prefix}{name}": value for prefix, one in pairs for name, value in asdict(one).items()}


def _of_gpu(index: int, use: GpuUse, idle_s: float) -> dict[str, float]:
    figures = {**asdict(use), "idle_s": idle_s}
    return {f"{PREFIX}gpu{index}/{name}": value for name, value in figures.items() if value is not None}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of what goes up and down, the last of what only adds up."""
    newest = rows[-1]
    return {
        name: sum(row.get(name, value) for row in rows) / len(rows) if name.endswith(("_percent", "_w")) else value
        for name, value in newest.items()
    }


def _append(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        whole = file.tell()
        if (file.write(data) or 0) < len(data):
            file.truncate(whole)


def _overwrite(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)
