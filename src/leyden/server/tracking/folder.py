"""What has come into the folder of one live run since the last look?"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

from leyden.engines.record import Process, lives
from leyden.server.tracking.arguments import beside, config_of, words_of
from leyden.server.tracking.rows import JobLine, RunRow
from leyden.server.tracking.stats import RunStats
from leyden.track.blocks import Frames

ABOUT, CONFIG, SUMMARY, TAGS, FINISHED = "run.json", "config.json", "summary.json", "tags.json", "finished.json"
MOST_BYTES: Final = 16 << 20  # of one of these files
KILLED: Final = "killed"
NODE: Final = socket.gethostname()


@final
class LiveRun:
    """A run that may still write, and what is known of it. For one thread."""

    def __init__(
        self,
        run_id: str,
        folder: Path,
        job: JobLine | None,
        row: RunRow | None,
        own: bool,
        command: Sequence[str] | None = None,  # the job's
    ) -> None:
        self.id, self.folder, self.row, self._job, self._command = run_id, folder, row, job, command
        self.own = own  # whether the folder lies where all do
        self.stats = RunStats.load(row.snapshot) if row is not None and row.snapshot else RunStats()
        self._frames = Frames(folder, self.stats.offsets)
        self._facts = [(name, os.fspath(folder / name), change) for name, change in _FACTS.items()]
        self._finished = os.fspath(folder / FINISHED)
        self._about: dict[str, Any] | None = None
        self.dirty = False

    def poll(self, now: float) -> bool:
        """Look; whether anything was new. Raises OSError."""
        fresh = self._read_facts(now)
        for file in self._frames.look():
            for block in self._frames.read(file):
                self.stats.feed(file.rank, file.attempt, block)
                fresh = True
        for one in self._frames.damage:
            print(f"{one.path}: {one.size_bytes} bytes at {one.offset} are no frame and are left out", flush=True)
        self._frames.damage.clear()
        if fresh:
            self.stats.offsets = {name: file.offset for name, file in self._frames.files.items()}
            self.row = replace(self.row or self._first_row(now), updated_at=now, settled=False)
            self.dirty = True
        return fresh

    def snapshot(self) -> RunRow | None:
        """The row with all that is known, to be put on record."""
        if self.row is None:
            return None
        self.row = replace(self.row, points=self.stats.points, snapshot=self.stats.dump())
        return self.row

    def end(self, at: float, state: str = "") -> None:
        """Put down that it is over."""
        if self.row is not None:
            self.row = replace(self.row, ended_at=at, state=state)
            self.dirty = True

    def settle(self) -> None:
        """Put down that nothing more is expected of it."""
        if self.row is not None:
            self.row = replace(self.row, settled=True)
            self.dirty = True

    @property
    def gone(self) -> bool:
        """Whether a bare program has ended without a word, or its folder is no more."""
        about = self.about
        if not isinstance(about.get("pid"), int):
            return not self.folder.is_dir()
        if about.get("node", NODE) != NODE:  # nobody here can see its processes
            return False
        return not lives(Process(pid=about["pid"], birth=str(about.get("birth", ""))))

    @property
    def about(self) -> dict[str, Any]:
        """run.json."""
        if not self._about:
            self._about = _read(os.fspath(self.folder / ABOUT))
        return self._about

    @property
    def finished(self) -> dict[str, Any]:
        """How it ended, as it says itself; empty while it has not."""
        return _read(self._finished)

    def _first_row(self, now: float) -> RunRow:
        about = self.about
        job = self._job
        return RunRow(
            id=self.id,
            path="" if self.own else str(self.folder),
            name=job.name if job else text(about.get("name") or self.id)[:1000],
            user=job.user if job else text(about.get("user") or "")[:120],
            state="" if job else "running",
            created_at=job.created_at if job else moment(about.get("created_at"), now),
            config=self._given,
        )

    @property
    def _given(self) -> dict[str, Any]:
        """By its arguments."""
        words = self._command if self._job else self.about.get("argv")
        if not isinstance(words, list | tuple) or "ipykernel_launcher" in str(words[:1]):
            return {}
        return config_of([str(word) for word in (words_of(words) if self._job else words[1:])])

    def _read_facts(self, now: float) -> bool:
        fresh = False
        for name, path, change in self._facts:
            try:
                status = os.stat(path)  # noqa: PTH116  twice as fast, and asked all day
            except OSError:
                continue
            stamp = status.st_mtime_ns ^ status.st_ino  # two may come within one tick of the file system's clock
            if stamp == self.stats.stamps.get(name) or (name == ABOUT and self._job is not None):
                continue
            self.stats.stamps[name] = stamp
            if found := _read(path):
                self.row = change(
                    self.row or self._first_row(now), beside(found, self._given) if name == CONFIG else found
                )
                fresh = True
        return fresh


def _tagged(row: RunRow, found: dict[str, Any]) -> RunRow:
    tags = found.get("tags")
    return replace(
        row,
        tags=tuple(str(one) for one in tags) if isinstance(tags, list) else row.tags,
        note=text(found.get("note", row.note)),
        project=text(found.get("project", row.project)),
    )


def moment(said: object, otherwise: float) -> float:
    """A time that somebody wrote down, if it is one."""
    sound = isinstance(said, int | float) and -1e11 < said < 1e11
    return float(said) if sound else otherwise  # type: ignore[arg-type]


def text(value: object) -> str:
    """As PostgreSQL can hold it."""
    return str(value).replace("\0", "").encode(errors="replace").decode()


_FACTS: Final[dict[str, Callable[[RunRow, dict[str, Any]], RunRow]]] = {
    ABOUT: lambda row, _: row,
    CONFIG: lambda row, found: replace(row, config=found),
    SUMMARY: lambda row, found: replace(row, summary=found),
    TAGS: _tagged,
}


def _read(path: str) -> dict[str, Any]:
    """Empty where it is not there, torn, too large or no dict."""
    try:
        if os.stat(path).st_size > MOST_BYTES:  # noqa: PTH116
            return {}
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
