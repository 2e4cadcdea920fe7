"""What is one job, one attempt, as plain data, and how is it found?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from leyden.core.errors import NotFoundError
from leyden.core.ids import ALPHABET, SHORT, resolve
from leyden.core.states import ACTIVE, FINAL, Intent, State
from leyden.jobs.tables import attempts, jobs, leases


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A row of `jobs`."""

    id: str
    key: str
    version: int
    state: State
    reason: str
    name: str
    user: str
    priority: int
    spec: str
    code: str
    cwd: str
    submit_dir: str
    gpus: int
    gpu_model: str
    gpu_memory_bytes: int
    cpus: int
    ranks: int
    attempt: int
    fence: int
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    gpus_most: int = 0
    share: int = 1
    reason_code: str = ""
    intent: Intent = Intent.NONE
    environ: str = ""
    origin: str = ""
    resume_from: str = ""
    time_s: float | None = None
    preempt_grace_s: float | None = None
    after: tuple[str, ...] = ()
    not_before: float | None = None
    infra_failures: int = 0
    user_failures: int = 0

    def columns(self) -> dict[str, Any]:
        """As the table keeps it."""
        return {**vars(self), "after": json.dumps(self.after)}


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """A row of `attempts`."""

    uid: str
    job_id: str
    number: int
    engine_ref: str
    fence: int
    node: str
    devices: tuple[str, ...]
    created_at: float
    launched_at: float | None = None
    started_at: float | None = None
    heartbeat_at: float | None = None
    pid: int | None = None
    ended_at: float | None = None
    outcome: str = ""
    message: str = ""
    exit_code: int | None = None
    cleaned_at: float | None = None


def job_row(row: Row[Any]) -> JobRow:
    """The row as data."""
    return JobRow(
        **{
            **columns(_OF_A_JOB, row),
            "state": State(row.state),
            "intent": Intent(row.intent),
            "after": tuple(json.loads(row.after)),
        }
    )


def attempt_row(row: Row[Any]) -> AttemptRow:
    """The row as data."""
    return AttemptRow(**{**columns(_OF_AN_ATTEMPT, row), "devices": tuple(json.loads(row.devices))})


def columns(names: Sequence[str], row: Row[Any]) -> dict[str, Any]:
    """These columns of the row."""
    plain = row._mapping
    return {name: plain[name] for name in names}


_OF_A_JOB, _OF_AN_ATTEMPT = (tuple(field.name for field in fields(kind)) for kind in (JobRow, AttemptRow))
# Built once: to put such a query together takes as long as to ask it.
_JOB = select(jobs).where(jobs.c.id == bindparam("wanted"))
_ATTEMPT = select(attempts).where(attempts.c.uid == bindparam("wanted"))
_UNCLEAN = select(attempts).where(attempts.c.cleaned_at.is_(None)).order_by(attempts.c.uid)
_JOBS_OF_UNCLEAN = select(jobs).where(jobs.c.id.in_(select(attempts.c.job_id).where(attempts.c.cleaned_at.is_(None))))


def get_job(connection: Connection, job_id: str) -> JobRow:
    """The job of that id, which must exist."""
    return job_row(connection.execute(_JOB, {"wanted": job_id}).one())


def find_job(connection: Connection, reference: str) -> JobRow:
    """The job of that id, the newest of a name, of a unique end or beginning of its id, or "last".

    Raises NotFoundError.
    """
    exact = connection.execute(select(jobs).where(jobs.c.id == reference)).one_or_none()
    if reference == "last":
        exact = connection.execute(select(jobs).order_by(jobs.c.id.desc()).limit(1)).one_or_none()
        if exact is None:
            raise NotFoundError(
                asked="the last job was asked for", found="there is no job yet", do="Submit one: `leyden run train.py`."
            )
    if exact is not None:
        return job_row(exact)
    wanted = reference.lower()
    known: Sequence[str] = ()
    if wanted and all(letter in ALPHABET for letter in wanted):  # so no % or _ of LIKE
        like = jobs.c.id.like(f"%{wanted}") | jobs.c.id.like(f"{wanted}%")
        known = connection.scalars(select(jobs.c.id).where(like).limit(50)).all()
    named = connection.scalar(select(func.max(jobs.c.id)).where(jobs.c.name == reference))
    if named is None:
        return get_job(connection, resolve(reference, known))
    if len(reference) >= SHORT and (others := [one for one in known if one != named]):
        raise NotFoundError(  # rather than to stop the wrong one
            asked=f"job {reference!r} was asked for",
            found=f"{named} has that name, and {others[0]} an id like it",
            do="Give the whole id.",
        )
    return get_job(connection, named)


def list_jobs(connection: Connection, *, since: float | None, limit: int) -> list[JobRow]:
    """Newest first; with `since` only those not final or ended after it."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(jobs.c.state.not_in(list(FINAL)) | (jobs.c.ended_at >= since))
    return [job_row(row) for row in connection.execute(query)]


def get_attempt(connection: Connection, uid: str) -> AttemptRow | None:
    """The attempt of that uid."""
    row = connection.execute(_ATTEMPT, {"wanted": uid}).one_or_none()
    return attempt_row(row) if row else None


def last_attempts(connection: Connection, job_ids: Sequence[str]) -> dict[str, AttemptRow]:
    """The current or last attempt of each job that has any."""
    query = (
        select(attempts)
        .join(jobs, (jobs.c.id == attempts.c.job_id) & (jobs.c.attempt == attempts.c.number))
        .where(jobs.c.id.in_(job_ids))
    )
    return {row.job_id: attempt_row(row) for row in connection.execute(query)}


def all_attempts(connection: Connection, job_id: str) -> list[AttemptRow]:
    """Every attempt of the job, first to last."""
    query = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return [attempt_row(row) for row in connection.execute(query)]


def unclean_attempts(connection: Connection) -> list[tuple[AttemptRow, JobRow]]:
    """Every attempt of which the engine may still have something, with its job."""
    rows = [attempt_row(row) for row in connection.execute(_UNCLEAN)]
    found = {row.id: job_row(row) for row in connection.execute(_JOBS_OF_UNCLEAN)} if rows else {}
    return [(row, found[row.job_id]) for row in rows]


def active_count(connection: Connection) -> int:
    """How many jobs hold devices."""
    return len(connection.scalars(select(jobs.c.id).where(jobs.c.state.in_(list(ACTIVE)))).all())


def held_devices(connection: Connection) -> dict[str, str]:
    """Device → job that holds it."""
    query = select(leases.c.device, leases.c.job_id).where(leases.c.released_at.is_(None))
    return {row.device: row.job_id for row in connection.execute(query)}
