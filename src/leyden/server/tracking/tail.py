"""Who reads what live runs write, so that last values are known and outlive the server?

One thread looks at the folders of runs that may write: jobs that hold devices, bare programs that have announced
themselves, runs that others push. What changed goes into the database in one transaction every two seconds. A run that
has ended is read to its end, handed to the sealer, and forgotten.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, final

from sqlalchemy import Connection

from leyden.core.home import Home
from leyden.core.ids import is_id
from leyden.jobs.store import Store
from leyden.server.tracking import rows
from leyden.server.tracking.book import Book
from leyden.server.tracking.folder import KILLED, LiveRun, moment, text
from leyden.server.tracking.sealing import is_worth_it
from leyden.track.blocks import FOLDER

LOOK_EVERY_S: Final = 0.5
SAVE_EVERY_S: Final = 2.0
QUIET_S: Final = 600.0  # a pushed run of which nothing more came is let go of
_AT_ONCE: Final = 500
_SIGNS: Final = (FOLDER, "config.json", "summary.json", "tags.json", "media")

Sealing = Callable[[LiveRun], None]


@final
class Tail(threading.Thread):
    """The thread."""

    def __init__(self, home: Home, store: Store, book: Book, seal: Sealing, commits: Callable[[], int]) -> None:
        super().__init__(name="tracking", daemon=True)
        self._home, self._store, self._book, self._seal, self._commits = home, store, book, seal, commits
        self.lock = threading.RLock()
        self.live: dict[str, LiveRun] = {}
        self._closed, self._wake = threading.Event(), threading.Event()
        self._pushed: dict[str, float] = {}
        self._bare: dict[str, Path] = {}
        self._active: set[str] = set()
        self._backlog: set[str] = set()  # jobs that have ended
        self._seen = (-1, 0)  # commits, mtime of the folder of announcements
        self._upto = 0
        self._saved_at = 0.0
        self._trouble = ""
        self._broken: dict[str, str] = {}  # runs that cannot be read, and why

    def close(self) -> None:
        """End; what is not saved is read again by the next server."""
        self._closed.set()
        self._wake.set()
        if self.is_alive():
            self.join(timeout=5.0)

    def pushed(self, run_id: str) -> None:
        """Something came for that run from elsewhere."""
        self._pushed[run_id] = time.monotonic()

    def run(self) -> None:
        """Until closed."""
        started = False
        while not self._closed.is_set():
            try:
                if not started:
                    self._upto, self._backlog = self._store.read(_begin)
                    started = True
                self.tick()
                self._trouble = ""
            except Exception as error:  # the disk is full, the database away
                if str(error) != self._trouble:
                    traceback.print_exc()
                self._trouble = str(error)
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()
        with contextlib.suppress(Exception):
            self._save(self.live.values())

    def tick(self) -> None:
        """One look at everything."""
        self._find_jobs()
        self._find_bare()
        quiet = time.monotonic() - QUIET_S
        for run_id in [one for one, at in self._pushed.items() if at < quiet]:
            del self._pushed[run_id]
        batch = self._some_that_ended()
        wanted = self._active | self._bare.keys() | self._pushed.keys() | batch
        self._open(wanted - self.live.keys())
        ended = self._ended_of(batch)
        new: list[LiveRun] = []
        leaving: list[tuple[LiveRun, bool]] = []  # and whether it has ended
        for live in list(self.live.values()):
            first = live.row is None
            fresh, over = self._look(live, ended)
            if over or not (fresh or live.id in wanted):
                leaving.append((live, over))
            elif fresh and first:
                new.append(live)
            elif fresh:
                self._book.touch(live.id)
        self._save([*new, *(live for live, _ in leaving)])
        for live, over in leaving:
            self._let_go(live, over)
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            self._save(self.live.values())

    def _look(self, live: LiveRun, ended: dict[str, float]) -> tuple[bool, bool]:
        """Whether anything was new, and whether it is over; what is wrong with one run stops no other."""
        try:
            with self.lock:
                fresh = live.poll(self._book.clock())
                over = (not fresh or live.id in ended) and self._is_over(live, ended)
                if over:
                    live.poll(self._book.clock())  # its last words may have come in between
                    if not (live.own and is_worth_it(live.folder)):  # a bare program may go on there, without pyarrow
                        live.settle()
            self._broken.pop(live.id, None)
            return fresh, over
        except Exception as error:
            if self._broken.get(live.id) != str(error):
                print(f"run {live.id} cannot be read:", flush=True)
                traceback.print_exc()
            self._broken[live.id] = str(error)
            return False, False

    def _is_over(self, live: LiveRun, ended: dict[str, float]) -> bool:
        """Whether nothing more can come. A run without a job ends when it says so, or when its process is gone."""
        now, state = self._book.clock(), ""
        at = ended.get(live.id)
        if at is None and (live.id in self._bare or live.id in self._pushed):
            if finished := live.finished:
                at = moment(finished.get("at"), now)
                state = text(finished.get("state", ""))[:20] or KILLED
            elif live.id in self._bare and live.gone and not live.finished:
                at, state = now, KILLED
        if at is not None:
            live.end(at, state)
        return at is not None

    def _let_go(self, live: LiveRun, over: bool) -> None:
        del self.live[live.id]
        if live.row is not None:
            self._book.note(live.row, None)
        if not over:
            return
        self._backlog.discard(live.id)
        self._broken.pop(live.id, None)
        self._pushed.pop(live.id, None)
        if self._bare.pop(live.id, None) is not None:
            (self._home.root / "bare" / live.id).unlink(missing_ok=True)
        if live.row is not None and not live.row.settled:
            self._seal(live)

    def _find_jobs(self) -> None:
        commits = self._commits()
        if commits == self._seen[0]:
            return
        after = self._upto
        active, (self._upto, ended) = self._store.read(
            lambda connection: (rows.active_jobs(connection), rows.ended_jobs(connection, after))
        )
        self._active = set(active)
        self._backlog |= set(ended)
        self._seen = (commits, self._seen[1])

    def _find_bare(self) -> None:
        """A program that began by itself has left word of its folder."""
        folder = self._home.root / "bare"
        try:
            stamp = folder.stat().st_mtime_ns
            if stamp == self._seen[1]:
                return
            for name in os.listdir(folder):  # noqa: PTH208  names only
                if is_id(name) and name not in self._bare:
                    with contextlib.suppress(OSError, ValueError):
                        path = Path((folder / name).read_text())
                        if path.is_absolute():
                            self._bare[name] = path
        except OSError:
            return
        if abs(time.time_ns() - stamp) > 2e9:  # another may come within the same tick of the file system's clock
            self._seen = (self._seen[0], stamp)

    def _some_that_ended(self) -> set[str]:
        """Of which something is there; most short jobs leave nothing."""
        some = list(itertools.islice(self._backlog, _AT_ONCE))
        found = {one for one in some if one in self.live or self._has_something(one)}
        self._backlog.difference_update(set(some) - found)
        return found

    def _ended_of(self, batch: set[str]) -> dict[str, float]:
        """When each of these jobs ended of which no process can run any more."""
        if not batch:
            return {}
        ids = list(batch)
        unclean, lines = self._store.read(
            lambda connection: (rows.unclean_jobs(connection, ids), list(rows.load_jobs(connection, ids)))
        )
        return {
            one.id: one.ended_at or self._book.clock() for one in lines if one.state.final and one.id not in unclean
        }

    def _open(self, ids: set[str]) -> None:
        """Begin to watch those that have a folder with something in it."""
        found = [one for one in ids if one in self._bare or self._has_something(one)]
        for start in range(0, len(found), _AT_ONCE):
            part = found[start : start + _AT_ONCE]
            known, lines, commands = self._store.read(partial(_load, ids=part))
            for one in part:
                folder = self._bare.get(one, self._home.runs / one)
                own = one not in self._bare
                live = LiveRun(one, folder, lines.get(one), known.get(one), own, commands.get(one))
                self.live[one] = live
                if live.row is not None:
                    self._book.note(live.row, live.stats)

    def _has_something(self, run_id: str) -> bool:
        folder = self._home.runs / run_id
        return any((folder / one).exists() for one in _SIGNS)

    def _save(self, some: Iterable[LiveRun]) -> None:
        """Put what has changed of these on record."""
        with self.lock:
            dirty = [one for one in some if one.dirty]
            snapshots = [row for row in (one.snapshot() for one in dirty) if row is not None]
            if not snapshots:
                return
            self._store.write(lambda connection: rows.save_runs(connection, snapshots))
            for one in dirty:
                one.dirty = False
        for one in dirty:
            if one.row is not None:
                self._book.note(one.row, one.stats)


def _begin(connection: Connection) -> tuple[int, set[str]]:
    return rows.last_event(connection), set(rows.unsettled_jobs(connection))


def _load(
    connection: Connection, ids: list[str]
) -> tuple[dict[str, rows.RunRow], dict[str, rows.JobLine], dict[str, list[str]]]:
    known = {row.id: row for row in rows.load_runs(connection, ids)}
    return known, {line.id: line for line in rows.load_jobs(connection, ids)}, rows.commands(connection, ids)
