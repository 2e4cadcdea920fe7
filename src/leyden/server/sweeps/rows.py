"""What is one sweep, one trial, one measurement on record, and how is it found and changed?

Every function works inside a transaction of the caller's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select

from leyden.core.errors import NotFoundError
from leyden.core.ids import ALPHABET, resolve
from leyden.core.sweep_views import Value
from leyden.jobs.rows import AttemptRow, attempt_row, columns
from leyden.jobs.statements import change
from leyden.jobs.tables import attempts, reports, sweeps, trials
from leyden.sweeps.state import Standing

AT_ONCE: Final = 10_000


class SweepState(StrEnum):
    """What a sweep is doing."""

    RUNNING = "running"
    STOPPED = "stopped"  # its trials are paused; it can be resumed
    FINISHED = "finished"
    FAILED = "failed"  # too many trials failed; the rest is paused, it can be resumed


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A row of `sweeps`."""

    id: str
    key: str
    version: int
    state: SweepState
    reason: str
    name: str
    user: str
    job: str
    spec: str
    code: str
    cwd: str
    submit_dir: str
    environ: str
    created_at: float
    ended_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A row of `trials`."""

    sweep_id: str
    number: int
    job_id: str
    params: Mapping[str, Value]
    standing: Standing
    bracket: int
    allowed: int
    parent: int | None = None
    finals: tuple[float | None, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """A row of `reports`. `value` None: it was no number."""

    sweep_id: str
    number: int
    rung: int
    resource: float
    value: float | None
    at: float


_OF_A_SWEEP, _OF_A_TRIAL, _OF_A_REPORT = (
    tuple(field.name for field in fields(kind)) for kind in (SweepRow, TrialRow, ReportRow)
)


def _sweep(row: Row[Any]) -> SweepRow:
    return SweepRow(**{**columns(_OF_A_SWEEP, row), "state": SweepState(row.state)})


def _trial(row: Row[Any]) -> TrialRow:
    plain = {"params": json.loads(row.params), "standing": Standing(row.standing)}
    return TrialRow(**{**columns(_OF_A_TRIAL, row), **plain, "finals": tuple(json.loads(row.finals))})


def add_sweep(connection: Connection, row: SweepRow) -> tuple[SweepRow, bool]:
    """The sweep on record and whether it is new: a key seen before names the sweep made then."""
    seen = connection.execute(select(sweeps).where(sweeps.c.key == row.key)).one_or_none()
    if seen is not None:
        return _sweep(seen), False
    connection.execute(insert(sweeps), vars(row))
    return row, True


def get_sweep(connection: Connection, sweep_id: str) -> SweepRow | None:
    """The sweep of that id."""
    row = connection.execute(select(sweeps).where(sweeps.c.id == sweep_id)).one_or_none()
    return _sweep(row) if row else None


def find_sweep(connection: Connection, reference: str) -> SweepRow:
    """The sweep of that id, the newest of a name, of a unique end or beginning of its id, or "last".

    Raises NotFoundError.
    """
    newest = select(sweeps).order_by(sweeps.c.id.desc()).limit(1)
    query = newest if reference == "last" else newest.where(sweeps.c.id == reference)
    row = (
        connection.execute(query).one_or_none() or connection.execute(newest.where(sweeps.c.name == reference)).first()
    )
    if row is not None:
        return _sweep(row)
    wanted = reference.lower()
    known: Sequence[str] = ()
    if wanted and wanted != "last" and all(letter in ALPHABET for letter in wanted):
        like = sweeps.c.id.like(f"%{wanted}") | sweeps.c.id.like(f"{wanted}%")
        known = connection.scalars(select(sweeps.c.id).where(like).limit(50)).all()
    if not known:
        raise NotFoundError(
            asked=f"sweep {reference!r}",
            found="there is no such sweep",
            do="`leyden sweep list` shows those there are.",
        )
    found = get_sweep(connection, resolve(reference, known))
    assert found is not None
    return found


def list_sweeps(connection: Connection, *, limit: int) -> list[SweepRow]:
    """Newest first."""
    return [_sweep(row) for row in connection.execute(select(sweeps).order_by(sweeps.c.id.desc()).limit(limit))]


def open_sweeps(connection: Connection) -> list[SweepRow]:
    """Those that go on, and those that may be resumed while some of their trials still end."""
    query = select(sweeps).where(sweeps.c.state != SweepState.FINISHED).order_by(sweeps.c.id)
    return [_sweep(row) for row in connection.execute(query)]


def set_sweep(connection: Connection, row: SweepRow, **columns: object) -> SweepRow:
    """Change it; the row as it is now."""
    values = {"version": row.version + 1, **columns}
    change(connection, sweeps, {"id": row.id}, values)
    return _sweep(connection.execute(select(sweeps).where(sweeps.c.id == row.id)).one())


def trials_of(connection: Connection, sweep_id: str) -> list[TrialRow]:
    """All of them, by number."""
    query = select(trials).where(trials.c.sweep_id == sweep_id).order_by(trials.c.number)
    return [_trial(row) for row in connection.execute(query)]


def add_trials(connection: Connection, rows: Sequence[TrialRow]) -> None:
    """Put them on record, with their jobs in the same transaction."""
    plain = [{**vars(row), "params": json.dumps(dict(row.params)), "finals": "[]"} for row in rows]
    connection.execute(insert(trials), plain)


def set_trial(connection: Connection, sweep_id: str, number: int, **columns: object) -> None:
    """Change it."""
    change(connection, trials, {"sweep_id": sweep_id, "number": number}, columns)


def reports_of(connection: Connection, sweep_id: str) -> list[ReportRow]:
    """All that its trials measured at their rungs, by trial and rung."""
    order = (reports.c.number, reports.c.rung)
    query = select(reports).where(reports.c.sweep_id == sweep_id).order_by(*order)
    return [ReportRow(**columns(_OF_A_REPORT, row)) for row in connection.execute(query)]


def add_reports(connection: Connection, rows: Sequence[ReportRow]) -> None:
    """Put them on record."""
    connection.execute(insert(reports), [vars(row) for row in rows])


def standings_of(connection: Connection, sweep_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Sweep → standing → how many trials."""
    query = (
        select(trials.c.sweep_id, trials.c.standing, func.count())
        .where(trials.c.sweep_id.in_(sweep_ids))
        .group_by(trials.c.sweep_id, trials.c.standing)
    )
    found: dict[str, dict[str, int]] = {}
    for sweep_id, standing, count in connection.execute(query):
        found.setdefault(sweep_id, {})[standing] = count
    return found


def close_trial(connection: Connection, row: TrialRow) -> None:
    """It changes no more."""
    finals = json.dumps([one if one is None or math.isfinite(one) else None for one in row.finals])
    set_trial(connection, row.sweep_id, row.number, standing=row.standing, note=row.note, finals=finals)


def attempts_of(connection: Connection, job_ids: Sequence[str]) -> list[AttemptRow]:
    """All attempts of these jobs."""
    found: list[AttemptRow] = []
    for begin in range(0, len(job_ids), AT_ONCE):
        some = attempts.c.job_id.in_(job_ids[begin : begin + AT_ONCE])
        found += [attempt_row(row) for row in connection.execute(select(attempts).where(some))]
    return found
