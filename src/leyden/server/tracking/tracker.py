"""What belongs to tracking in one running server, and what can be asked of it about one run?"""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

from leyden.core.errors import ConflictError, RecordError, SpecError
from leyden.core.home import Home
from leyden.core.ids import is_id
from leyden.core.log_views import MetricView
from leyden.core.run_views import MediaNameView, MediumView, RunDetailView, RunMetricView, RunView
from leyden.core.views import JobView
from leyden.jobs.store import Store
from leyden.server.prices import Prices
from leyden.server.tracking import rows
from leyden.server.tracking.archive import Archive
from leyden.server.tracking.book import Book, Entry
from leyden.server.tracking.curves import Curves, shown
from leyden.server.tracking.folder import LiveRun
from leyden.server.tracking.progress import reckon
from leyden.server.tracking.push import Pushed
from leyden.server.tracking.query import Queries
from leyden.server.tracking.sealing import Sealer
from leyden.server.tracking.stats import RunStats, Summary
from leyden.server.tracking.tail import Tail
from leyden.track import media
from leyden.track.names import DROPPED
from leyden.track.points import ALL_BYTES, RunPoints
from leyden.track.read import summary
from leyden.track.sealed import SEALED, Sealed, bring_by, open_sealed

_MOST_LINES: Final = 200_000  # of an index of media
_MANY: Final = 2000  # metrics of a live run: of more the thread that reads them tells, half a second later


@final
class Tracker:
    """All of it."""

    def __init__(
        self,
        home: Home,
        store: Store,
        prices: Prices,
        clock: Callable[[], float],
        commits: Callable[[], int],
        archive: Archive,
    ) -> None:
        self._home, self._store = home, store
        self.book = Book(home, store, prices, clock)
        self.queries = Queries(self.book)
        self.curves = Curves()
        self.archive = archive
        self.sealer = Sealer(self._sealed, archive)
        self.tail = Tail(home, store, self.book, self._seal, commits)

    def start(self) -> None:
        """Begin to look."""
        bring_by(self.archive.bring)
        self.sealer.start()
        self.tail.start()

    def close(self) -> None:
        """Let go."""
        self.tail.close()
        self.sealer.close()

    @contextmanager
    def points(self, entry: Entry, names: Sequence[str] | None) -> Iterator[RunPoints]:
        """The curves of a run."""
        with self.curves.of(entry.id, self.book.folder(entry), names) as found:
            yield found

    def row(self, entry: Entry, columns: Sequence[str] = ()) -> RunView:
        """Its line in the table."""
        from leyden.core.filter import field

        with self.book.lock:
            return self.queries.row(entry, {name: field(name) for name in columns}, self.book.clock())

    def with_progress(self, job: JobView) -> JobView:
        """How far it is, where it runs; of what is in memory, as everybody asks for it all day."""
        live = self.tail.live.get(job.id)
        if live is None or live.row is None or job.state != "running":
            return job
        entry = Entry(job.id, -1)
        entry.stats = live.stats
        entry.set_row(live.row)
        progress, eta_s = reckon(entry, job.attempt, job.started_at, self.book.clock())
        return replace(job, progress=progress, eta_s=eta_s)

    def detail(self, entry: Entry) -> RunDetailView:
        """All about it but its points."""
        folder = self.book.folder(entry)
        lines, dropped = self._lines(entry.id, folder)
        metrics = _merged(lines)
        said = next((one.last for one in metrics if one.name == DROPPED), 0)
        row = entry.row
        return RunDetailView(
            run=self.row(entry),
            path=str(folder),
            config=rows.finite(dict(row.config) if row else {}),
            summary=rows.finite(dict(row.summary) if row else {}),
            metrics=metrics,
            media=_names_of(read_media(folder)),
            dropped_names=dropped + (int(said) if isinstance(said, float) else 0),
        )

    def edit(self, entry: Entry, changes: dict[str, Any]) -> RunView:
        """Change name, tags, note, project, whether it is archived."""
        with self.tail.lock:
            live = self.tail.live.get(entry.id)
            row = (live.row if live is not None else None) or entry.row
            if row is None:
                job = entry.job
                assert job is not None
                row = rows.RunRow(id=job.id, name=job.name, user=job.user, created_at=job.created_at)
            row = replace(row, **changes, updated_at=self.book.clock())
            columns = {**changes, "updated_at": row.updated_at}
            if "archived" in columns:
                columns["archived"] = int(columns["archived"])
            new = entry.row is None
            self._store.write(
                lambda connection: (
                    rows.save_runs(connection, [row]) if new else rows.edit_run(connection, entry.id, **columns)
                )
            )
            if live is not None:
                live.row = row
            stats = live.stats if live is not None else None
        with self.book.lock:
            kept = entry.stats
            self.book.note(row, stats)
            entry.stats = stats or kept
        return self.row(entry)

    def delete(self, entry: Entry) -> bool:
        """Forget a run that has ended, with its folder; a job's is archived. Whether it is gone.

        One that was sent from elsewhere and then no more may never say that it has ended: it goes as well.
        """
        if entry.ended_at is None and (entry.job is not None or entry.id in self.tail.live):
            found = f"it is {entry.state}"
            raise ConflictError(
                asked=f"run {entry.id} is to go", found=found, do="Wait until it has ended, or cancel it."
            )
        if entry.job is not None:
            self.edit(entry, {"archived": True})
            return False
        folder = self.book.folder(entry)
        self.archive.forget(entry.id)
        with self.tail.lock:
            self.tail.live.pop(entry.id, None)
        self._store.write(lambda connection: rows.remove_run(connection, entry.id))
        self.book.remove(entry.id)
        self.curves.forget(entry.id)
        if folder.parent == self._home.runs and is_id(folder.name):  # a bare program's folder is its user's own
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def files_of(self, run_id: str) -> Pushed:
        """Where pieces of its files go; a new run begins with the first. Raises SpecError."""
        if not is_id(run_id):
            do = "Take ten characters of Crockford's base 32, as leyden.core.ids makes them."
            raise SpecError(asked=f"run {run_id[:50]!r}", found="that is no id", do=do)
        known = self.book.get(run_id)
        folder = self.book.folder(known) if known is not None else self._home.runs / run_id
        sealed = None
        with contextlib.suppress(RecordError):  # what comes now can be kept, whatever became of what came before
            sealed = open_sealed(folder)
        self.tail.pushed(run_id)
        return Pushed(folder, sealed.index.files if sealed is not None else {})

    def metrics(self, run_id: str, folder: Path) -> list[MetricView]:
        """One line a metric, of the lowest rank that logged it."""
        lines, _ = self._lines(run_id, folder)
        first: dict[str, Summary] = {}
        for line in sorted(lines, key=lambda one: (one.name, one.rank)):
            first.setdefault(line.name, line)
        return [
            MetricView(**{key: value for key, value in vars(one).items() if key != "rank"}) for one in first.values()
        ]

    def _lines(self, run_id: str, folder: Path) -> tuple[list[Summary], int]:
        """Every metric of every rank, and how many were left out: from the points where they are not too many."""
        frames = list((folder / "metrics").glob("*.frames"))
        if not frames and (folder / SEALED).exists() and (sealed := open_sealed(folder)) is not None:
            found = RunStats.of_places(sealed.index.places, sealed.index.dropped)
            return list(found.summaries()), found.dropped
        live, large = self.tail.live.get(run_id), sum(one.stat().st_size for one in frames) > ALL_BYTES
        if live is None:
            settled = self._settled(run_id)
            if settled is not None and (settled.exact or large):
                return list(settled.summaries()), settled.dropped
        elif large or len(live.stats.names()) > _MANY:
            with self.tail.lock:
                return list(live.stats.summaries()), live.stats.dropped
        with self.curves.of(run_id, folder, None) as points:
            lines = []
            for rank, name in points.metrics():
                curve = points.curve(rank, name)
                if curve is not None and curve.count:
                    one = summary(name, curve)
                    lines.append(Summary(rank=rank, **vars(one)))
            return lines, points.dropped

    def _settled(self, run_id: str) -> RunStats | None:
        """What the database has of a run to which nothing more is added."""
        found = self._store.read(lambda connection: list(rows.load_runs(connection, [run_id])))
        return RunStats.load(found[0].snapshot) if found and found[0].settled and found[0].snapshot else None

    def _seal(self, live: LiveRun) -> None:
        self.sealer.add(live.id, live.folder, live.stats.dropped)

    def _sealed(self, run_id: str, sealed: Sealed | None) -> None:
        """Nothing more is expected of it."""
        columns: dict[str, Any] = {"settled": 1}
        if sealed is not None:
            stats = RunStats.of_places(sealed.index.places, sealed.index.dropped)
            columns |= {"snapshot": stats.dump(), "points": stats.points}
        if run_id not in self.tail.live:  # else it goes on already
            self._store.write(lambda connection: rows.edit_run(connection, run_id, **columns))


def read_media(folder: Path) -> list[MediumView]:
    """Every line of every rank's index, in the order of steps."""
    found = (MediumView(**vars(one)) for one in itertools.islice(media.read(folder), _MOST_LINES))
    return sorted(found, key=lambda one: (one.name, one.step, one.at))


def _names_of(some: Sequence[MediumView]) -> list[MediaNameView]:
    steps: dict[tuple[str, str], set[int]] = {}
    for one in some:
        steps.setdefault((one.kind, one.name), set()).add(one.step)
    return [MediaNameView(kind=kind, name=name, steps=sorted(those)) for (kind, name), those in sorted(steps.items())]


def _merged(lines: Sequence[Summary]) -> list[RunMetricView]:
    """One a name, of the lowest rank that logged it."""
    ranks: dict[str, list[int]] = {}
    first: dict[str, Summary] = {}
    for line in sorted(lines, key=lambda one: one.rank):
        ranks.setdefault(line.name, []).append(shown(line.rank))
        first.setdefault(line.name, line)
    return [
        RunMetricView(
            name=name, ranks=ranks[name], count=one.count, last_step=one.last_step, last=rows.finite(one.last),
            least=rows.finite(one.least), greatest=rows.finite(one.greatest),
        )
        for name, one in sorted(first.items())
    ]  # fmt: skip
