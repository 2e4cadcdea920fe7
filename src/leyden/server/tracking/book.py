"""Which runs are there, and what is known of each? All of them in memory, as the database tells it.

Jobs are looked at when somebody asks, and then only those with new events; the thread that reads the files of live runs
notes what it finds. A run without a row is a job of which nothing was logged yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, final

from sqlalchemy import Connection

from leyden.core.errors import NotFoundError
from leyden.core.filter import Field, Found
from leyden.core.home import Home
from leyden.core.ids import ALPHABET, resolve
from leyden.jobs.store import Store
from leyden.server.prices import Prices
from leyden.server.tracking.rows import JobLine, RunRow, changed_jobs, flat, last_event, load_jobs, load_runs
from leyden.server.tracking.stats import LastValues, RunStats, Shelf

FORGOTTEN: Final = 100_000  # so many changes are remembered
RUNNING: Final = "running"


@final
class Entry:
    """One run. Changed only by the book, under its lock."""

    def __init__(self, run_id: str, number: int) -> None:
        self.id, self.number = run_id, number
        self.job: JobLine | None = None
        self.row: RunRow | None = None
        self.stats: RunStats | LastValues | None = None
        self.config: dict[str, float | str | bool] = {}
        self.summary: dict[str, float | str | bool] = {}
        self.there = True

    @property
    def state(self) -> str:
        """A job's own, or what is known of the program."""
        if self.job is not None:
            return str(self.job.state)
        return self.row.state if self.row is not None else ""

    @property
    def created_at(self) -> float:
        """When it was submitted, or began."""
        return self.job.created_at if self.job else self.row.created_at if self.row else 0.0

    @property
    def started_at(self) -> float | None:
        """When its first rank began."""
        return self.job.started_at if self.job else self.created_at

    @property
    def ended_at(self) -> float | None:
        """None while it goes on."""
        return self.job.ended_at if self.job else self.row.ended_at if self.row else None

    @property
    def tags(self) -> tuple[str, ...]:
        """In the order they were given."""
        return self.row.tags if self.row else ()

    def duration_s(self, now: float) -> float | None:
        """Since it started, until its end or now."""
        if self.started_at is None:
            return None
        return max(0.0, (self.ended_at or now) - self.started_at)

    def metric(self, name: str) -> Found:
        """What the summary says of it, else its last value."""
        if name in self.summary:
            return self.summary[name]
        return self.stats.last(name) if self.stats is not None else None

    def set_row(self, row: RunRow) -> None:
        """The newest there is."""
        before, self.row = self.row, row
        if before is None or before.config is not row.config:
            self.config = flat(row.config)
        if before is None or before.summary is not row.summary:
            self.summary = flat(row.summary)


@final
class Book:
    """All runs. Its methods may be called from any thread; hold `lock` while using what they give."""

    def __init__(self, home: Home, store: Store, prices: Prices, clock: Callable[[], float]) -> None:
        self._home, self._store, self._prices, self.clock = home, store, prices, clock
        self.lock = threading.RLock()
        self.entries: list[Entry] = []
        self.changes: list[tuple[int, int]] = []  # version, number of the entry
        self.version = 0
        self.forgotten = 0  # changes up to that version are not remembered
        self._by_id: dict[str, Entry] = {}
        self._live: dict[str, RunStats] = {}
        self._shelf = Shelf()
        self._upto: int | None = None

    def sync(self) -> None:
        """Know what the database knows."""
        with self.lock:
            if self._upto is None:
                self._load()
                return
            after = self._upto
            self._upto, ids = self._store.read(lambda connection: changed_jobs(connection, after))
            if ids:
                self.reload(ids)

    def reload(self, ids: list[str]) -> None:
        """Look at these jobs again."""
        with self.lock:
            for job in self._store.read(lambda connection: list(load_jobs(connection, ids))):
                entry = self._entry(job.id)
                if entry.job != job:
                    entry.job = job
                    self._changed(entry)

    def _load(self) -> None:
        def load(connection: Connection) -> int:
            for job in load_jobs(connection):
                self._entry(job.id).job = job
            for row in load_runs(connection):  # one by one: their snapshots may be half a gigabyte together
                self._set_row(self._entry(row.id), row)
            return last_event(connection)

        self._upto = self._store.read(load)
        for entry in self.entries:
            self._changed(entry)

    def note(self, row: RunRow, stats: RunStats | None) -> None:
        """The row is on record now; `stats` are those of a live run."""
        with self.lock:
            if stats is None:
                self._live.pop(row.id, None)
            else:
                self._live[row.id] = stats
            if self._upto is not None:
                entry = self._entry(row.id)
                self._set_row(entry, row)
                self._changed(entry)

    def touch(self, run_id: str) -> None:
        """Its stats have changed."""
        with self.lock:
            if (entry := self._by_id.get(run_id)) is not None:
                self._changed(entry)

    def remove(self, run_id: str) -> None:
        """It is gone."""
        with self.lock:
            self._live.pop(run_id, None)
            if (entry := self._by_id.get(run_id)) is not None:
                entry.there, entry.row, entry.stats = False, None, None
                self._changed(entry)

    def find(self, reference: str) -> Entry:
        """By id, a unique end or beginning of it, the newest of a name, or "last". Raises NotFoundError."""
        with self.lock:
            self.sync()
            known = self._by_id.get(reference)
            if known is not None and known.there:
                return known
            there = [one for one in self.entries if one.there]
            if reference == "last" and there:
                return max(there, key=lambda one: one.id)
            if reference == "last":
                do = "Start one: `leyden run train.py`, or `python train.py`."
                raise NotFoundError(asked="the last run was asked for", found="there is no run yet", do=do)
            lowered = reference.lower()
            ids = [one.id for one in there if one.id.startswith(lowered) or one.id.endswith(lowered)]
            if not ids or any(letter not in ALPHABET for letter in lowered):
                named = [one for one in there if self.name(one) == reference]
                if named:
                    return max(named, key=lambda one: one.id)
            return self._by_id[resolve(reference, ids, what="run")]

    def get(self, run_id: str) -> Entry | None:
        """Of that very id."""
        with self.lock:
            entry = self._by_id.get(run_id)
            return entry if entry is not None and entry.there else None

    def folder(self, entry: Entry) -> Path:
        """Where its files lie."""
        return Path(entry.row.path) if entry.row is not None and entry.row.path else self._home.runs / entry.id

    def name(self, entry: Entry) -> str:
        """What people call it."""
        return (entry.row.name if entry.row is not None else "") or (entry.job.name if entry.job else "")

    def look(self, entry: Entry, field: Field, now: float) -> Found:
        """What it has there."""
        if field.kind == "attribute":
            return self.attribute(entry, field.name, now)
        if field.kind == "config":
            return entry.config.get(field.name)
        found = entry.metric(field.name)
        return entry.config.get(field.name) if found is None and not field.kind else found

    def attribute(self, entry: Entry, name: str, now: float) -> Found:
        """One of core.filter.ATTRIBUTES."""
        job, row = entry.job, entry.row
        found: Found = None
        match name:
            case "id" | "state" | "created_at" | "started_at" | "ended_at":
                found = getattr(entry, name)
            case "name":
                found = self.name(entry)
            case "tag":
                found = entry.tags
            case "duration_s":
                found = entry.duration_s(now)
            case "user":
                found = job.user if job else row.user if row else None
            case "project" | "note":
                found = getattr(row, name) if row else ""
            case "job_id":
                found = job.id if job else None
            case "host":
                found = job.last_attempt.node if job and job.last_attempt else None
            case "cost":
                found = self._prices.cost(job.attempts, now) if job and self._prices.known else None
            case _:  # gpus, priority, attempt, reason
                found = getattr(job, name) if job else None
        return found

    def _entry(self, run_id: str) -> Entry:
        entry = self._by_id.get(run_id)
        if entry is None:
            entry = self._by_id[run_id] = Entry(run_id, len(self.entries))
            self.entries.append(entry)
        entry.there = True
        return entry

    def _set_row(self, entry: Entry, row: RunRow) -> None:
        entry.set_row(replace(row, snapshot=None))  # of which only last values stay in memory
        live = self._live.get(row.id)
        if live is not None:
            entry.stats = live
        elif row.snapshot:
            entry.stats = self._shelf.last_values(row.snapshot)

    def _changed(self, entry: Entry) -> None:
        self.version += 1
        self.changes.append((self.version, entry.number))
        if len(self.changes) > 2 * FORGOTTEN:
            self.changes = self.changes[-FORGOTTEN:]
            self.forgotten = self.changes[0][0] - 1

    def changed_since(self, version: int) -> Iterable[int] | None:
        """Numbers of entries that changed after it; None: too long ago to know."""
        if version < self.forgotten:
            return None
        found: set[int] = set()
        for at, number in reversed(self.changes):
            if at <= version:
                break
            found.add(number)
        return found
