"""How do artifacts of ended attempts get into the store, though store, disk or server may fail meanwhile?

One thread. It goes by what is on disk: an attempt with a manifest and without a mark that says where it is kept has
something left to do, so a server that was killed goes on where it was. Each content is asked for before it is sent; the
manifest follows when all are there, then the mark. A store that is away is tried again, at longer and longer intervals.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

from sqlalchemy import Connection, func, select

from leyden.core.home import Home
from leyden.core.states import State
from leyden.engines.base import attempt_folder
from leyden.jobs.store import Store
from leyden.jobs.tables import attempts, events, jobs
from leyden.server.files.blobs import AwayError, Blobs, ChangedError, open_blobs
from leyden.server.files.cleaning import Cleaner, tell
from leyden.server.files.retention import Retention, is_expired, sweep
from leyden.server.files.waste import disk_use
from leyden.server.settings import Settings
from leyden.track import artifacts

MARK: Final = "artifacts.kept"
LOOK_EVERY_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
CHORES_EVERY_S: Final = 600.0
SETTLED_S: Final = 300.0  # a server that has just started has better things to do than to clean
LOG_BYTES: Final = 10_000_000
_OVERLAP: Final = 200  # events asked for again: PostgreSQL may show a lower number after a higher one
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """An attempt that has ended."""

    job_id: str
    number: int
    final: bool  # the job is over: nobody writes to its files any more
    gone: bool  # no process of it is left


@final
@dataclass(frozen=True, kw_only=True)
class Files:
    """What the server knows of files that jobs leave."""

    blobs: Blobs
    retention: Retention
    keeping: Keeping
    cleaner: Cleaner
    busy: threading.Lock  # held by who sends something to the store, and by who cleans it

    @classmethod
    def open(cls, home: Home, store: Store, settings: Settings, clock: Callable[[], float]) -> Files:
        """By the settings; nothing runs yet. Raises UsageError for a store that is none."""
        blobs, busy = open_blobs(settings.store, home.root / "store"), threading.Lock()
        retention = Retention(
            keep=settings.keep_checkpoints, days=settings.keep_days, artifacts_days=settings.keep_artifacts_days
        )
        cleaner = Cleaner(home=home, store=store, blobs=blobs, busy=busy, clock=clock)
        opened_at = clock()

        def chores() -> None:
            put_aside(home.log_file)
            with busy:
                sweep(store, home, blobs, retention, now=clock())
            if settings.clean_days and clock() - opened_at > SETTLED_S and cleaner.due:
                tell(cleaner.clean(days=settings.clean_days, really=True))

        keeping = Keeping(home, store, blobs, chores, busy)
        return cls(blobs=blobs, retention=retention, keeping=keeping, cleaner=cleaner, busy=busy)


def put_aside(log: Path, most_bytes: int = LOG_BYTES) -> None:
    """Move what the server printed to server.log.1, over what stood there, once it is long.

    By copying: whoever prints has the file open, to append. A full disk takes no copy and must have the room all the
    more.
    """
    if log.exists() and log.stat().st_size > most_bytes:
        with suppress(OSError):
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


@final
class Keeping(threading.Thread):
    """Keeps artifacts until closed, and does `chores` every ten minutes; holds `busy` while it keeps an attempt's."""

    def __init__(
        self, home: Home, store: Store, blobs: Blobs, chores: Callable[[], None], busy: threading.Lock | None = None
    ) -> None:
        super().__init__(name="keeping", daemon=True)
        self._home, self._store, self._blobs, self._chores = home, store, blobs, chores
        self._busy = busy or threading.Lock()
        self._closed = threading.Event()
        self._upto = 0  # the number of the last event seen
        self._recent: set[int] = set()  # and of those shortly before it
        self.trouble = ""  # why nothing is kept just now
        self.home_bytes: int | None = None  # None: not counted yet

    def close(self) -> None:
        """End; an upload that is under way is given up, and made anew by the next server."""
        self._closed.set()
        if self.is_alive():
            self.join(timeout=2.0)

    def run(self) -> None:
        """Until closed."""
        waiting: set[str] | None = None
        pause_s, next_chores_s = LOOK_EVERY_S, 0.0
        while not self._closed.is_set():
            try:
                waiting = self._all_jobs() if waiting is None else waiting | self._changed_jobs()
                waiting = self._keep(waiting)
                pause_s, self.trouble = LOOK_EVERY_S, ""
            except Exception as error:  # the store is away, the disk is full
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
                self._complain(error)
            if next_chores_s <= 0 and not self._closed.is_set():
                self._do_chores()
                next_chores_s = CHORES_EVERY_S
            next_chores_s -= pause_s
            self._closed.wait(pause_s)

    def _complain(self, error: Exception) -> None:
        if str(error) != self.trouble:
            print(f"artifacts wait for their store {self._blobs.url}: {error}", flush=True)
        if not isinstance(error, AwayError | OSError):
            traceback.print_exception(error)
        self.trouble = str(error)

    def _do_chores(self) -> None:
        try:
            self._chores()
            self.home_bytes = disk_use(self._home.root)
        except AwayError as error:
            print(f"chores wait for the store {self._blobs.url}: {error}", flush=True)
        except Exception:
            traceback.print_exc()

    def _all_jobs(self) -> set[str]:
        def load(connection: Connection) -> set[str]:
            self._upto = connection.scalar(select(func.max(events.c.id))) or 0
            return {*connection.scalars(select(attempts.c.job_id).where(attempts.c.ended_at.is_not(None)))}

        return self._store.read(load)

    def _changed_jobs(self) -> set[str]:
        """Those that something happened to since the last look."""

        def load(connection: Connection) -> set[str]:
            query = select(events.c.id, events.c.job_id).where(events.c.id > self._upto - _OVERLAP)
            rows = connection.execute(query).all()
            fresh = {row.job_id for row in rows if row.id not in self._recent}
            self._recent = {row.id for row in rows}
            self._upto = max([self._upto, *self._recent])
            return fresh

        return self._store.read(load)

    def _keep(self, waiting: set[str]) -> set[str]:
        """Keep what these jobs' ended attempts left; the jobs of which something is still to come."""
        left: set[str] = set()
        listed = sorted(waiting)
        for start in range(0, len(listed), _AT_ONCE):
            for one in self._store.read(partial(_ended, job_ids=listed[start : start + _AT_ONCE])):
                if self._closed.is_set():
                    return waiting
                with self._busy:
                    done = self._keep_one(one)
                if not done:
                    left.add(one.job_id)
        return left

    def _keep_one(self, one: _Ended) -> bool:
        """Whether nothing is left to do for the attempt."""
        run_dir = self._home.runs / one.job_id
        folder = attempt_folder(run_dir, one.number)
        if _mark(folder) == self._blobs.url or not artifacts.has_files(run_dir) or is_expired(run_dir):
            return True
        manifest = artifacts.read(folder)
        if manifest is None:
            if not one.gone:
                return False  # its worker may be writing it
            if not folder.exists():
                return True  # never launched
            before = [other for other in artifacts.read_all(run_dir) if other.attempt < one.number]
            manifest = artifacts.make(run_dir / artifacts.FOLDER, one.number, before)
            artifacts.write(folder, manifest)
        for artifact in manifest.artifacts:
            if self._closed.is_set():
                return False
            self._keep_file(artifact, run_dir / artifacts.FOLDER, settled=one.final)
        self._blobs.put_manifest(f"{one.job_id}/a{one.number}.json", json.dumps(asdict(manifest)).encode())
        (folder / MARK).write_text(self._blobs.url)
        return True

    def _keep_file(self, artifact: artifacts.Artifact, folder: Path, *, settled: bool) -> None:
        if self._blobs.has(artifact):
            return
        try:
            self._blobs.put(artifact, folder, settled=settled)
        except (ChangedError, FileNotFoundError, artifacts.OutsideError):
            # A later attempt, or a person, has changed or deleted it: its manifest has the version there is now.
            print(f"{folder / artifact.path} is no longer as it was and is not kept in that version", flush=True)


def _mark(folder: Path) -> str:
    try:
        return (folder / MARK).read_text()
    except OSError:
        return ""


def _ended(connection: Connection, job_ids: Iterable[str]) -> list[_Ended]:
    query = (
        select(attempts.c.job_id, attempts.c.number, attempts.c.cleaned_at, jobs.c.state)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.job_id.in_(list(job_ids)), attempts.c.ended_at.is_not(None))
        .order_by(attempts.c.job_id, attempts.c.number)
    )
    return [
        _Ended(job_id=row.job_id, number=row.number, final=State(row.state).final, gone=row.cleaned_at is not None)
        for row in connection.execute(query)
    ]
