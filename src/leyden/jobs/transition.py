"""How does a job's state change? Here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, insert, update

from leyden.core.states import Intent, State, may_follow
from leyden.jobs.rows import JobRow
from leyden.jobs.tables import events, jobs

Changed = dict[str, set[State]]  # job → the states it has left and come into
CHANGED: Final = "leyden.changed"  # where a connection keeps what its transaction has changed: see Store


class LostRaceError(Exception):
    """Somebody else changed the job first: load it again and decide again."""


def create(connection: Connection, new: Sequence[JobRow]) -> None:
    """Put new jobs on record, in two statements however many. Raises IntegrityError where a key is taken."""
    connection.execute(insert(jobs), [job.columns() for job in new])
    first = [
        {"job_id": job.id, "at": job.created_at, "before": "", "after": job.state, "who": job.user, "why": "submitted"}
        for job in new
    ]
    connection.execute(insert(events).inline(), first)
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
    **columns: object,
) -> None:
    """Bring the job from the state it was loaded in to `after`, with other columns of its row and the event.

    `why` goes into the event, `reason` is what the job shows from now on.
    Raises ValueError where the states do not follow each other, LostRaceError where the row has changed since.
    """
    if not may_follow(job.state, after):
        raise ValueError(f"a job cannot go from {job.state} to {after}")
    guard = (jobs.c.id == job.id) & (jobs.c.version == job.version) & (jobs.c.state == job.state)
    values = {"state": after, "version": job.version + 1, "reason": reason, "reason_code": "", **columns}
    if after is not State.STOPPING:
        values["intent"] = Intent.NONE
    changed = connection.execute(update(jobs).where(guard).values(values))
    if changed.rowcount != 1:
        raise LostRaceError(f"job {job.id} is no longer {job.state} in version {job.version}")
    _note(connection, job.id, at=at, before=job.state, after=after, who=who, why=why)


def retarget(
    connection: Connection, job: JobRow, intent: Intent, *, at: float, who: str, why: str, reason: str
) -> None:
    """Change what becomes of a stopping job once it has stopped. Raises LostRaceError as `transition` does."""
    guard = (jobs.c.id == job.id) & (jobs.c.version == job.version) & (jobs.c.state == State.STOPPING)
    values = {"version": job.version + 1, "intent": intent, "reason": reason}
    if connection.execute(update(jobs).where(guard).values(values)).rowcount != 1:
        raise LostRaceError(f"job {job.id} is no longer {job.state} in version {job.version}")
    _note(connection, job.id, at=at, before=job.state, after=job.state, who=who, why=why)


def _note(connection: Connection, job_id: str, *, at: float, before: State, after: State, who: str, why: str) -> None:
    # As parameters, not as .values(), which SQLAlchemy would compile anew: half the time of a submit.
    row = {"job_id": job_id, "at": at, "before": before, "after": after, "who": who, "why": why}
    connection.execute(insert(events).inline(), row)
    connection.info.setdefault(CHANGED, {}).setdefault(job_id, set()).update((before, after))
