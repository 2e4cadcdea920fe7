"""What in the home, and in the store of artifacts, does nobody need any more, and when does it go?

Looked for once a day by the server itself, and by `leyden server clean`. Records of runs never go, nor what a job on
record was made from. What was brought for a job that is not on record yet has a day's grace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Final, final

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, select

from leyden.core.environment import read_environment
from leyden.core.home import Home
from leyden.core.house import CleanView, WasteView
from leyden.core.ids import is_id
from leyden.core.units import format_size
from leyden.engines.base import attempt_folder
from leyden.jobs.store import Store
from leyden.jobs.tables import attempts, jobs, runs
from leyden.server.files import waste
from leyden.server.files.blobs import AwayError, Blobs, Kept
from leyden.server.files.retention import EXPIRED
from leyden.server.files.waste import DAY_S, GRACE_S, Kind, Waste
from leyden.server.tracking.archive import manifest_of, read_mark
from leyden.track import artifacts
from leyden.track.sealed import KEPT

UNUSED_DAYS: Final = 30.0  # to build an environment again may take minutes
EVERY_S: Final = DAY_S
BUSY_S: Final = 5.0  # so long an upload is waited for
_MARK: Final = "cleaned"
Days = Annotated[
    float, Query(ge=0, le=36_500, allow_inf_nan=False, description="For so long unused: environments, mirrors.")
]


@final
@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """Of one home and one store. `busy` is held by who keeps artifacts."""

    home: Home
    store: Store
    blobs: Blobs
    busy: threading.Lock
    clock: Callable[[], float]
    _one: threading.Lock = field(default_factory=threading.Lock)

    def clean(self, *, days: float, really: bool) -> CleanView:
        """Environments and repositories unused for so many days, and what no job on record refers to.

        Not `really`: only say what would go.
        """
        with self._one:
            now, known = self.clock(), self.store.read(_load)
            found = [*self._of_home(known, now, now - days * DAY_S)]
            gone = [one for one in found if not really or one.take()]
            left = _strange(self.home, known)
            with self._still() as still:
                if still:
                    more, why = self._contents(known, now)
                    gone += [one for one in more if not really or one.take()]
                    left += why
                else:
                    left.append("artifacts are being sent to their store: those there were not looked at")
            if really:
                (self.home.root / _MARK).touch()
        return CleanView(removed=really, waste=[_view(one) for one in gone], left=left)

    @property
    def due(self) -> bool:
        """Whether the last time was long ago."""
        with suppress(FileNotFoundError):
            return self.clock() - (self.home.root / _MARK).stat().st_mtime > EVERY_S
        return True

    def _of_home(self, known: _Known, now: float, before: float) -> Iterator[Waste]:
        yield from waste.leftovers(self.home, now=now)
        yield from waste.environments(self.home, _entered(self.home, known), before=before)
        yield from waste.repositories(self.home, before=before)
        if not _strange(self.home, known):
            yield from waste.trees(self.home, known.codes, now=now)
            yield from waste.variables(self.home, known.environs, now=now)

    @contextmanager
    def _still(self) -> Iterator[bool]:
        """Whether nothing is being kept, nor will be until the context ends."""
        got = self.busy.acquire(timeout=BUSY_S)
        try:
            yield got
        finally:
            if got:
                self.busy.release()

    def _contents(self, known: _Known, now: float) -> tuple[list[Waste], list[str]]:
        """What of the store no manifest names."""
        try:
            old = [one for one in self.blobs.contents() if one.at < now - GRACE_S]
            named = {*self.blobs.manifests()} if old else set[str]()
            if strangers := sum(name.partition("/")[0] not in known.runs for name in named):
                return [], [f"{strangers} manifests in the store are of another server's jobs: its contents were left"]
            needed = self._needed(named) if old else set[str]()
            return [self._content(one) for one in old if one.sha256 not in needed], []
        except AwayError as error:
            return [], [f"the store of artifacts does not answer: {error}"]
        except (ValueError, KeyError, TypeError, OSError) as error:  # whoever cannot read them all must remove nothing
            return [], [f"a manifest of artifacts cannot be read: {error}"]

    def _needed(self, named: set[str]) -> set[str]:
        """The hashes in all manifests: those of the runs, and those that only the store has."""
        needed: set[str] = set()
        for file in self.home.runs.glob(f"*/attempts/a*/{artifacts.MANIFEST}"):
            named.discard(f"{file.parents[2].name}/{file.parent.name}.json")
            if not (file.parents[2] / EXPIRED).exists() and (manifest := artifacts.read(file.parent)):
                needed |= {one.sha256 for one in manifest.artifacts}
        for file in self.home.runs.glob(f"*/{KEPT}"):
            if (mark := read_mark(file.parent)) is not None and mark.store == self.blobs.url:
                named.discard(manifest_of(file.parent.name))
                needed.add(mark.sha256)
        for name in named:
            needed |= {one.sha256 for one in self.blobs.get_manifest(name).artifacts}
        return needed

    def _content(self, one: Kept) -> Waste:
        return Waste(
            kind=Kind.CONTENT,
            name=one.sha256,
            size_bytes=one.size_bytes,
            used_at=one.at,
            why="no job's artifact",
            take=partial(self._take_content, one),
        )

    def _take_content(self, one: Kept) -> bool:
        try:
            self.blobs.remove(one.sha256)
        except (AwayError, OSError):
            return False
        return True


def tell(view: CleanView) -> None:
    """To server.log."""
    for one in view.waste:
        print(f"removed {one.kind} {one.name}, {format_size(one.size_bytes)}: {one.why}", flush=True)
    for why in view.left:
        print(f"not cleaned: {why}", flush=True)


def add_cleaning(app: FastAPI, cleaner: Cleaner) -> None:
    """The routes of `leyden server clean`."""

    @app.get("/api/clean", response_model=CleanView)
    def get_waste(days: Days = UNUSED_DAYS) -> Response:
        """What nobody needs any more, and how much space it takes."""
        return JSONResponse(asdict(cleaner.clean(days=days, really=False)))

    @app.post("/api/clean", response_model=CleanView)
    def clean(days: Days = UNUSED_DAYS) -> Response:
        """Remove what nobody needs any more.

        The answer lists what went. Records of runs and what jobs on record were made from always stay.
        """
        return JSONResponse(asdict(cleaner.clean(days=days, really=True)))


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the jobs on record refer to."""

    runs: frozenset[str]  # of jobs, and those without one
    codes: frozenset[str]
    environs: frozenset[str]
    open: tuple[tuple[str, int], ...]  # attempts of which something may still run


def _load(connection: Connection) -> _Known:
    rows = connection.execute(select(jobs.c.id, jobs.c.code, jobs.c.environ)).all()
    running = select(attempts.c.job_id, attempts.c.number).where(attempts.c.cleaned_at.is_(None))
    return _Known(
        runs=frozenset([*(row.id for row in rows), *connection.scalars(select(runs.c.id))]),
        codes=frozenset(row.code for row in rows),
        environs=frozenset(row.environ for row in rows),
        open=tuple((row.job_id, row.number) for row in connection.execute(running)),
    )


def _entered(home: Home, known: _Known) -> set[str]:
    """The keys of the environments that running attempts are in."""
    found = (read_environment(attempt_folder(home.runs / job, number)) for job, number in known.open)
    return {one.key for one in found if one}


def _strange(home: Home, known: _Known) -> list[str]:
    """Why captured trees must stay: runs here that this database knows nothing of were made from some."""
    count = sum(is_id(folder.name) and folder.name not in known.runs for folder in _listed(home.runs))
    return [f"{count} runs are not in this server's database: captured trees were left"] if count else []


def _listed(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return [*folder.iterdir()]
    return []


def _view(one: Waste) -> WasteView:
    return WasteView(kind=one.kind, name=one.name, size_bytes=one.size_bytes, used_at=one.used_at, why=one.why)
