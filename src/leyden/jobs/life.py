"""What happens to a job, step by step, and what goes on record at each? No engine in here, only the store.

Every function works inside one transaction of the caller's; what it loads there cannot be stale, except in `admit`,
which is told a decision made from an earlier snapshot and raises LostRaceError where the job has changed since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, insert, select, update

from leyden.core.errors import DeniedError
from leyden.core.ids import new_id
from leyden.core.states import State
from leyden.engines.base import Ending, Outcome
from leyden.jobs.placement import Size
from leyden.jobs.rows import AttemptRow, JobRow, get_attempt, get_job, job_row, queued_jobs
from leyden.jobs.schedule import Held, Waiting, Who, shorten
from leyden.jobs.tables import attempts, jobs, leases
from leyden.jobs.transition import create, transition

_FINAL = {
    Ending.SUCCEEDED: State.SUCCEEDED,
    Ending.FAILED: State.FAILED,
    Ending.CANCELLED: State.CANCELLED,
    Ending.TIMED_OUT: State.TIMED_OUT,
    Ending.INFRA: State.FAILED,
}


def submit(connection: Connection, job: JobRow) -> tuple[JobRow, bool]:
    """The job on record and whether it is new: a key seen before names the job made then."""
    if seen := find_key(connection, job.key):
        return seen, False
    create(connection, job, who=job.user)
    return job, True


def find_key(connection: Connection, key: str) -> JobRow | None:
    """The job submitted with that idempotency key."""
    row = connection.execute(select(jobs).where(jobs.c.key == key)).one_or_none()
    return job_row(row) if row else None


def load_queue(connection: Connection) -> tuple[list[JobRow], list[Waiting], list[Held]]:
    """What the scheduler decides from."""
    queued = queued_jobs(connection)
    waiting = [Waiting(who=_who(job), priority=job.priority, size=size_of(job)) for job in queued]
    taken = select(leases.c.device, leases.c.acquired_at, jobs).join(jobs, jobs.c.id == leases.c.job_id)
    held = [
        Held(device=row.device, who=_who(job_row(row)), since=row.acquired_at)
        for row in connection.execute(taken.where(leases.c.released_at.is_(None)))
    ]
    return queued, waiting, held


def size_of(job: JobRow) -> Size:
    """The size settled at submit."""
    return Size(
        gpus=job.gpus, cpus=job.cpus, ranks=job.ranks, gpu_model=job.gpu_model, gpu_memory_bytes=job.gpu_memory_bytes
    )


def admit(connection: Connection, job: JobRow, devices: Sequence[str], *, node: str, at: float) -> AttemptRow:
    """Open the next attempt, with its devices: on record before any engine hears of it."""
    number, fence = job.attempt + 1, job.fence + 1
    why = f"placed on {shorten(devices)}"
    transition(connection, job, State.ADMITTED, at=at, who="scheduler", why=why, attempt=number, fence=fence)
    uid = new_id()
    attempt = AttemptRow(
        uid=uid,
        job_id=job.id,
        number=number,
        engine_ref=f"{job.id}-a{number}-{uid}",
        fence=fence,
        node=node,
        devices=tuple(devices),
        created_at=at,
    )
    connection.execute(insert(attempts), {**vars(attempt), "devices": json.dumps(devices)})
    lease = {"node": node, "job_id": job.id, "attempt_uid": uid, "acquired_at": at}
    connection.execute(insert(leases), [{**lease, "device": device} for device in devices])
    return attempt


def explain(connection: Connection, reasons: Mapping[str, str]) -> None:
    """Let waiting jobs say why they wait. No state changes, so no version does."""
    waits = (jobs.c.id == bindparam("job_id")) & (jobs.c.state == State.QUEUED)
    rows = [{"job_id": job_id, "new_reason": reason} for job_id, reason in reasons.items()]
    connection.execute(update(jobs).where(waits).values(reason=bindparam("new_reason")), rows)


def launched(connection: Connection, attempt: AttemptRow, *, at: float) -> None:
    """The engine has taken the attempt."""
    _set(connection, attempt, launched_at=at)
    job = get_job(connection, attempt.job_id)
    if job.state is State.ADMITTED:
        transition(connection, job, State.STARTING, at=at, who="server", why="the worker was started")


def started(connection: Connection, attempt: AttemptRow, *, pid: int | None, at: float) -> None:
    """Its ranks run."""
    _set(connection, attempt, started_at=at, pid=pid)
    job = get_job(connection, attempt.job_id)
    if job.state is State.ADMITTED:
        launched(connection, attempt, at=at)
        job = get_job(connection, attempt.job_id)
    if job.state is State.STARTING:
        first = at if job.started_at is None else job.started_at
        transition(connection, job, State.RUNNING, at=at, who="worker", why="the ranks run", started_at=first)


def cancel(connection: Connection, job_id: str, *, at: float, who: str) -> JobRow:
    """Take it out of the queue, or have the server stop it; a job that has ended stays as it is."""
    job = get_job(connection, job_id)
    if job.state in {State.QUEUED, State.HELD, State.PAUSED}:
        transition(connection, job, State.CANCELLED, at=at, who=who, why="cancelled", reason="cancelled", ended_at=at)
    elif job.state.active and job.state is not State.STOPPING:
        transition(connection, job, State.STOPPING, at=at, who=who, why="cancelled", reason="being cancelled")
    return get_job(connection, job_id)


def check_fence(connection: Connection, uid: str, fence: int) -> AttemptRow:
    """The attempt, if it is the one that may speak for its job; raises DeniedError."""
    attempt = get_attempt(connection, uid)
    newest = get_job(connection, attempt.job_id).fence if attempt else 0
    if attempt is None or fence != attempt.fence or fence != newest:
        raise DeniedError(
            asked=f"attempt {uid} reports with fence {fence}",
            found=f"the newest is {newest}" if attempt else "there is no such attempt",
            do="An older attempt must stop writing; nothing else is to be done.",
        )
    return attempt


def heartbeat(connection: Connection, attempt: AttemptRow, *, at: float) -> None:
    """The worker lives."""
    _set(connection, attempt, heartbeat_at=at)


def ended(connection: Connection, attempt: AttemptRow, outcome: Outcome, *, at: float) -> bool:
    """Put the outcome on record and free the devices; False where that was done before: an outcome is written once."""
    row = get_attempt(connection, attempt.uid)
    if row is None or row.ended_at is not None:
        return False
    if row.started_at is None and outcome.started_at is not None:  # it was over before anybody saw it run
        started(connection, row, pid=None, at=outcome.started_at)
    job = get_job(connection, attempt.job_id)
    final = _FINAL[outcome.kind]
    if outcome.kind is Ending.INFRA and job.state is State.STOPPING:
        final, outcome = State.CANCELLED, replace(outcome, kind=Ending.CANCELLED)
    values = {"ended_at": outcome.ended_at, "exit_code": outcome.exit_code}
    _set(connection, attempt, outcome=outcome.kind, message=outcome.message, **values)
    held = (leases.c.attempt_uid == attempt.uid) & leases.c.released_at.is_(None)
    connection.execute(update(leases).where(held).values(released_at=at))
    if job.state is State.ADMITTED:  # it ended before the launch could be noted
        launched(connection, attempt, at=at)
        job = get_job(connection, attempt.job_id)
    why = outcome.message or "every rank exited with code 0"
    transition(connection, job, final, at=at, who="worker", why=why, reason=outcome.message, **values)
    return True


def cleaned(connection: Connection, attempt: AttemptRow, *, at: float) -> None:
    """The engine has nothing left of it."""
    _set(connection, attempt, cleaned_at=at)


def _set(connection: Connection, attempt: AttemptRow, **columns: object) -> None:
    connection.execute(update(attempts).where(attempts.c.uid == attempt.uid).values(**columns))


def _who(job: JobRow) -> Who:
    return Who(job_id=job.id, name=job.name, user=job.user)
