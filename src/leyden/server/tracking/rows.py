"""What is on record of one run, and of the job it may belong to, as plain data?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from sqlalchemy import BindParameter, Connection, bindparam, delete, func, insert, select

from leyden.core.states import ACTIVE, FINAL, State
from leyden.jobs.rows import AttemptRow, attempt_row
from leyden.jobs.statements import change
from leyden.jobs.tables import attempts, events, jobs, runs

_AT_ONCE: Final = 500  # as many ids in one statement
_DEEPEST: Final = 32


@final
@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A row of `runs`."""

    id: str
    path: str = ""
    project: str = ""
    name: str
    user: str
    state: str = ""
    created_at: float
    ended_at: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False
    settled: bool = False
    points: int = 0
    snapshot: bytes | None = None
    updated_at: float = 0.0

    def columns(self) -> dict[str, Any]:
        """As the table keeps it."""
        plain = {
            name: json.dumps(value) for name, value in
            (("config", self.config), ("summary", self.summary), ("tags", self.tags))
        }  # fmt: skip
        return {**vars(self), **plain, "archived": int(self.archived), "settled": int(self.settled)}


@final
@dataclass(frozen=True, kw_only=True)
class JobLine:
    """What the table of runs shows of a job."""

    id: str
    name: str
    user: str
    state: State
    reason: str
    priority: int
    gpus: int
    attempt: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: tuple[AttemptRow, ...] = ()

    @property
    def last_attempt(self) -> AttemptRow | None:
        """The current or last one."""
        return self.attempts[-1] if self.attempts else None


# Built once: to put such a query together takes longer than to ask it.
_IDS: Final[BindParameter[str]] = bindparam("ids", expanding=True)
_LINES: Final = select(*(
    jobs.c[name]
    for name in ("id", "name", "user", "state", "reason", "priority", "gpus", "attempt", "created_at", "started_at",
                 "ended_at")
))  # fmt: skip
_LINES_OF: Final = _LINES.where(jobs.c.id.in_(_IDS))
_ATTEMPTS: Final = select(attempts).order_by(attempts.c.number)
_ATTEMPTS_OF: Final = _ATTEMPTS.where(attempts.c.job_id.in_(_IDS))
_ACTIVE: Final = select(jobs.c.id).where(jobs.c.state.in_(list(ACTIVE)))
_SINCE: Final = select(events.c.id, events.c.job_id).where(events.c.id > bindparam("seen"))
_ENDED: Final = select(events.c.job_id).where(events.c.id > bindparam("seen"), events.c.after.in_(list(FINAL)))
_LAST: Final = select(func.max(events.c.id))
_UNCLEAN: Final = select(attempts.c.job_id).where(attempts.c.job_id.in_(_IDS), attempts.c.cleaned_at.is_(None))
_SPECS: Final = select(jobs.c.id, jobs.c.spec).where(jobs.c.id.in_(_IDS))


def load_runs(connection: Connection, ids: Sequence[str] | None = None) -> Iterator[RunRow]:
    """All of them, or these."""
    query = select(runs) if ids is None else select(runs).where(runs.c.id.in_(ids))
    for row in connection.execute(query.execution_options(yield_per=100)):
        plain = dict(row._mapping)
        for name in ("config", "summary", "tags"):
            plain[name] = json.loads(plain[name])
        plain |= {
            "tags": tuple(plain["tags"]),
            "archived": bool(plain["archived"]),
            "settled": bool(plain["settled"]),
        }
        yield RunRow(**plain)


def save_runs(connection: Connection, rows: Iterable[RunRow]) -> None:
    """Put them on record, in place of what was there."""
    for row in rows:
        columns = row.columns()
        if not change(connection, runs, {"id": row.id}, columns):
            connection.execute(insert(runs), columns)


def edit_run(connection: Connection, run_id: str, **columns: Any) -> None:
    """Change these columns of a row that is there."""
    plain = {name: json.dumps(value) if isinstance(value, tuple) else value for name, value in columns.items()}
    change(connection, runs, {"id": run_id}, plain)


def remove_run(connection: Connection, run_id: str) -> None:
    """Forget it."""
    connection.execute(delete(runs).where(runs.c.id == run_id))


def active_jobs(connection: Connection) -> list[str]:
    """Those of which an attempt holds devices."""
    return list(connection.scalars(_ACTIVE))


def ended_jobs(connection: Connection, after: int) -> tuple[int, list[str]]:
    """The number of the last event, and the jobs that ended after number `after`."""
    return max(after, last_event(connection)), list(connection.scalars(_ENDED, {"seen": after}))


def unsettled_jobs(connection: Connection) -> list[str]:
    """Those that have ended, and into whose folder nobody has looked to the end."""
    settled = select(runs.c.id).where(runs.c.settled == 1)
    query = select(jobs.c.id).where(jobs.c.state.in_(list(FINAL)), jobs.c.attempt > 0, jobs.c.id.not_in(settled))
    return list(connection.scalars(query))


def unclean_jobs(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these whose processes may still run."""
    return set(connection.scalars(_UNCLEAN, {"ids": ids}))


def load_jobs(connection: Connection, ids: Sequence[str] | None = None) -> Iterator[JobLine]:
    """All jobs with their attempts, or these."""
    if ids is not None and len(ids) > _AT_ONCE:
        for start in range(0, len(ids), _AT_ONCE):
            yield from load_jobs(connection, ids[start : start + _AT_ONCE])
        return
    those = {} if ids is None else {"ids": ids}
    tried: dict[str, list[AttemptRow]] = {}
    for row in connection.execute(_ATTEMPTS if ids is None else _ATTEMPTS_OF, those):
        tried.setdefault(row.job_id, []).append(attempt_row(row))
    for row in connection.execute(_LINES if ids is None else _LINES_OF, those):
        plain = {**row._mapping, "state": State(row.state)}
        yield JobLine(**plain, attempts=tuple(tried.get(row.id, ())))


def commands(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    """What each of these jobs runs: script or program, then its arguments."""
    found = {}
    for row in connection.execute(_SPECS, {"ids": ids}):
        spec = json.loads(row.spec)
        first = [spec["script"]] if spec.get("script") else spec.get("command") or []
        found[row.id] = [*first, *(spec.get("args") or [])]
    return found


def changed_jobs(connection: Connection, after: int) -> tuple[int, list[str]]:
    """The number of the last event, and the jobs of those after `after`."""
    found = connection.execute(_SINCE, {"seen": after}).all()
    return max((row.id for row in found), default=after), list({row.job_id for row in found})


def last_event(connection: Connection) -> int:
    """The number of the last event, 0 where there is none."""
    return connection.scalar(_LAST) or 0


def flat(nested: Mapping[str, Any]) -> dict[str, float | str | bool]:
    """With dotted names; lists as JSON.

    >>> flat({"model": {"width": 64}, "layers": [1, 2], "none": None})
    {'model.width': 64, 'layers': '[1, 2]'}
    """
    found: dict[str, float | str | bool] = {}
    _flatten(nested, "", found, 0)
    return found


def _flatten(nested: Mapping[str, Any], prefix: str, found: dict[str, float | str | bool], depth: int) -> None:
    for name, value in nested.items():
        if isinstance(value, dict) and value and depth < _DEEPEST:
            _flatten(value, f"{prefix}{name}.", found, depth + 1)
        elif isinstance(value, float | int | str):
            found[prefix + name] = value
        elif value is not None:
            found[prefix + name] = json.dumps(value)


def finite(value: Any) -> Any:
    """With NaN and infinities as words."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
