"""How does a job's state change? Here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, insert

from leyden.core.states import Intent, State, may_follow
from leyden.jobs.rows import JobRow
from leyden.jobs.statements import change
from leyden.jobs.tables import events, jobs

Changed = dict[str, set[State]]  # job → the states it has left and come into
CHANGED: Final = "leyden.changed"  # where a connection keeps what its transaction has changed: see Store
_EVENT: Final = insert(events).inline()


class LostRaceError(Exception):
    """Somebody else changed the job first: load it again and decide again."""


def create(connection: Connection, new: Sequence[JobRow]) -> None:
    """Put new jobs on record, in two statements however many. Raises IntegrityError where a key is taken."""
    connection.execute(insert(jobs), [job.columns() for job in new])
    first = [
        {"job_id": job.id, "at": job.created_at, "before": "", "after": job.state, "who": job.user, "why": "submitted"}
        for job in new
    ]
    connection.execute(_EVENT, first)
    connection.info.setdefault(CHANGED, {}).update({job.id: {job.state} for job in new})


def transition(
    connection: Connection,
    job: JobRow,
    after: State,
    *,
    at: float,
    who: str,
    why: str,
    reason: str = "",
    **columns: Any,
) -> JobRow:
    """Bring the job from the state it was loaded in to `after`, with other columns of its row and the event.

    `why` goes into the event, `reason` is what the job shows from now on. Returns the job as it is then.
    Raises ValueError where the states do not follow each other, LostRaceError where the row has changed since.
    """
    if not may_follow(job.state, after):
        raise ValueError(f"a job cannot go from {job.state} to {after}")
    values = {"state": after, "version": job.version + 1, "reason": reason, "reason_code": "", **columns}
    if after is not State.STOPPING:
        values["intent"] = Intent.NONE
    return _change(connection, job, values, at=at, who=who, why=why)


def retarget(
    connection: Connection, job: JobRow, intent: Intent, *, at: float, who: str, why: str, reason: str
) -> JobRow:
    """Change what becomes of a stopping job once it has stopped. Raises LostRaceError as `transition` does."""
    values = {"version": job.version + 1, "intent": intent, "reason": reason}
    return _change(connection, job, values, at=at, who=who, why=why)


def _change(connection: Connection, job: JobRow, values: dict[str, Any], *, at: float, who: str, why: str) -> JobRow:
    as_loaded = {"id": job.id, "version": job.version, "state": job.state}
    if change(connection, jobs, as_loaded, values) != 1:
        raise LostRaceError(f"job {job.id} is no longer {job.state} in version {job.version}")
    changed = replace(job, **values)
    event = {"job_id": job.id, "at": at, "before": job.state, "after": changed.state, "who": who, "why": why}
    connection.execute(_EVENT, event)
    connection.info.setdefault(CHANGED, {}).setdefault(job.id, set()).update((job.state, changed.state))
    return changed
