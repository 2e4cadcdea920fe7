"""What happens to a job, step by step, and what goes on record at each? No engine in here, only the store.

Every function works inside one transaction of the caller's; what it loads there cannot be stale, except in `admit`,
which is told a decision made from an earlier snapshot and raises LostRaceError where job or GPU have changed since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, insert, select, update

from leyden.core.devices import exclude
from leyden.core.errors import ConflictError, DeniedError
from leyden.core.ids import new_id, short_id
from leyden.core.reasons import PLACING, Reason
from leyden.core.states import Intent, State
from leyden.engines.base import Ending, Outcome
from leyden.jobs.retry import what_next
from leyden.jobs.rows import AttemptRow, JobRow, get_attempt, get_job, job_row
from leyden.jobs.sentences import shorten
from leyden.jobs.statements import change
from leyden.jobs.tables import attempts, jobs, leases
from leyden.jobs.transition import LostRaceError, create, retarget, transition
from leyden.jobs.usage import charge

_BY_KEY = select(jobs).where(jobs.c.key.in_(bindparam("keys", expanding=True)))  # made once: a third of a submit
_HELD_GPUS = select(leases.c.device).where(
    leases.c.released_at.is_(None) & (leases.c.node == bindparam("on")) & leases.c.device.like("gpu:%")
)
_FREE = (
    update(leases)
    .where((leases.c.attempt_uid == bindparam("holder")) & leases.c.released_at.is_(None))
    .values(released_at=bindparam("at"))
)
_CLEANED = update(attempts).where(attempts.c.uid == bindparam("gone")).values(cleaned_at=bindparam("at"))
_EXPLAIN = (
    update(jobs)
    .where((jobs.c.id == bindparam("job_id")) & (jobs.c.state == State.QUEUED))
    .values(reason=bindparam("new_text"), reason_code=bindparam("new_code"))
)


def submit(connection: Connection, job: JobRow) -> tuple[JobRow, bool]:
    """The job on record and whether it is new: a key seen before names the job made then."""
    return submit_many(connection, [job])[0]


def submit_many(connection: Connection, new: Sequence[JobRow]) -> list[tuple[JobRow, bool]]:
    """The same of many, in no more statements than of one: over a network each costs a round trip."""
    found = connection.execute(_BY_KEY, {"keys": [job.key for job in new]})
    seen = {row.key: job_row(row) for row in found}
    fresh = {job.key: job for job in reversed(new) if job.key not in seen}  # of two with one key the first
    if fresh:
        create(connection, [job for job in new if fresh.get(job.key) is job])
    return [(seen.get(job.key) or fresh[job.key], fresh.get(job.key) is job) for job in new]


def find_key(connection: Connection, key: str) -> JobRow | None:
    """The job submitted with that idempotency key."""
    row = connection.execute(_BY_KEY, {"keys": [key]}).one_or_none()
    return job_row(row) if row else None


def admit(connection: Connection, job_id: str, devices: Sequence[str], *, node: str, at: float) -> AttemptRow:
    """Open the next attempt, with its devices: on record before any engine hears of it."""
    job = get_job(connection, job_id)
    if job.state is not State.QUEUED:
        raise LostRaceError(f"job {job_id} is {job.state} by now")
    _refuse_overlap(connection, node, devices)
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


def _refuse_overlap(connection: Connection, node: str, devices: Sequence[str]) -> None:
    """A GPU is held whole, or in parts of one split. That each of these has one holder is for the index to say."""
    if not (gpus := [one for one in devices if one.startswith("gpu:")]):
        return
    for held in connection.scalars(_HELD_GPUS, {"on": node}):
        for one in gpus:
            if one != held and exclude(one, held):
                raise LostRaceError(f"{one} cannot be held beside {held}")


def explain(connection: Connection, reasons: Mapping[str, Reason]) -> None:
    """Let waiting jobs say why they wait. No state changes, so no version does."""
    rows = [{"job_id": key, "new_text": reason.text, "new_code": reason.code} for key, reason in reasons.items()]
    connection.execute(_EXPLAIN, rows)


def busy(connection: Connection, job: JobRow, doing: str) -> None:
    """Let a job that starts say what takes long."""
    change(connection, jobs, {"id": job.id, "version": job.version}, {"reason": doing})


def launched(connection: Connection, attempt: AttemptRow, *, at: float) -> JobRow:
    """The engine has taken the attempt."""
    return _launched(connection, attempt, get_job(connection, attempt.job_id), at=at)


def _launched(connection: Connection, attempt: AttemptRow, job: JobRow, *, at: float) -> JobRow:
    _set(connection, attempt, launched_at=at)
    if job.state is not State.ADMITTED:
        return job
    return transition(connection, job, State.STARTING, at=at, who="server", why="the worker was started")


def started(connection: Connection, attempt: AttemptRow, *, pid: int | None, at: float) -> JobRow:
    """Its ranks run."""
    _set(connection, attempt, started_at=at, pid=pid)
    job = get_job(connection, attempt.job_id)
    if job.state is State.ADMITTED:
        job = _launched(connection, attempt, job, at=at)
    if job.state is not State.STARTING:
        return job
    first = at if job.started_at is None else job.started_at
    return transition(connection, job, State.RUNNING, at=at, who="worker", why="the ranks run", started_at=first)


def cancel(connection: Connection, job_id: str, *, at: float, who: str, why: str = "cancelled") -> JobRow:
    """Take it out of the queue, or have the server stop it; a job that has ended stays as it is."""
    job = get_job(connection, job_id)
    if job.state in {State.QUEUED, State.HELD, State.PAUSED}:
        return transition(connection, job, State.CANCELLED, at=at, who=who, why=why, reason=why, ended_at=at)
    if job.state.active:
        return _stop(connection, job, Intent.CANCEL, at=at, who=who, why=why, reason="being cancelled")
    return job


def preempt(connection: Connection, job_id: str, *, at: float, why: str) -> JobRow:
    """Have it save a checkpoint and make way; it goes back into the queue. Nothing where it stops already."""
    job = get_job(connection, job_id)
    if job.state in {State.ADMITTED, State.STARTING, State.RUNNING}:
        return _stop(connection, job, Intent.PREEMPT, at=at, who="scheduler", why=why, reason=why)
    return job


def pause(connection: Connection, job_id: str, *, at: float, who: str) -> JobRow:
    """Have it save a checkpoint and give its devices back, until it is resumed. Raises ConflictError."""
    job = get_job(connection, job_id)
    if job.state is State.QUEUED:
        return transition(connection, job, State.PAUSED, at=at, who=who, why="paused", reason="paused")
    if job.state.active:
        return _stop(connection, job, Intent.PAUSE, at=at, who=who, why="to be paused", reason="being paused")
    if job.state is not State.PAUSED:
        raise _cannot("be paused", job, "Only jobs that wait or run can.")
    return job


def resume(connection: Connection, job_id: str, *, at: float, who: str) -> JobRow:
    """Back into the queue, at once or as soon as it has stopped; from its newest checkpoint. Raises ConflictError."""
    job = get_job(connection, job_id)
    if job.state is State.STOPPING and job.intent is Intent.PAUSE:
        why = "resumed before it was paused"
        return retarget(connection, job, Intent.PREEMPT, at=at, who=who, why=why, reason=why)
    return _queue_again(connection, job_id, State.PAUSED, "be resumed", at=at, who=who)


def hold(connection: Connection, job_id: str, *, at: float, who: str) -> JobRow:
    """Keep a job that waits from starting. Raises ConflictError."""
    job = get_job(connection, job_id)
    if job.state is State.QUEUED:
        return transition(connection, job, State.HELD, at=at, who=who, why="held", reason=f"held by {who}")
    if job.state is not State.HELD:
        raise _cannot("be held", job, "Only a job that waits can; `leyden pause` is for those that run.")
    return job


def release(connection: Connection, job_id: str, *, at: float, who: str) -> JobRow:
    """Let a held job start. Raises ConflictError."""
    return _queue_again(connection, job_id, State.HELD, "be released", at=at, who=who)


def _queue_again(connection: Connection, job_id: str, state: State, what: str, *, at: float, who: str) -> JobRow:
    job = get_job(connection, job_id)
    if job.state is state:
        return transition(connection, job, State.QUEUED, at=at, who=who, why=f"no longer {state}", reason=PLACING)
    if job.state is not State.QUEUED:
        raise _cannot(what, job, f"Only a job that is {state} can.")
    return job


def _stop(connection: Connection, job: JobRow, intent: Intent, *, at: float, who: str, why: str, reason: str) -> JobRow:
    """Stop it, or change what becomes of it once it has stopped: a cancel outdoes all else, a pause a preemption."""
    rank = [Intent.NONE, Intent.PREEMPT, Intent.PAUSE, Intent.CANCEL].index
    if job.state is not State.STOPPING:
        return transition(connection, job, State.STOPPING, at=at, who=who, why=why, reason=reason, intent=intent)
    if rank(intent) > rank(job.intent):
        return retarget(connection, job, intent, at=at, who=who, why=why, reason=reason)
    return job


def _cannot(what: str, job: JobRow, do: str) -> ConflictError:
    return ConflictError(asked=f"job {short_id(job.id)} is to {what}", found=f"it is {job.state}", do=do)


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
        job = started(connection, row, pid=None, at=outcome.started_at)
    else:
        job = get_job(connection, attempt.job_id)
    if job.state is State.STOPPING and outcome.kind in {Ending.INFRA, Ending.CANCELLED}:
        aside = job.intent in {Intent.PREEMPT, Intent.PAUSE}  # INFRA: it would have ended so a moment later
        outcome = replace(outcome, kind=Ending.REQUEUE if aside else Ending.CANCELLED)
    values = {"ended_at": outcome.ended_at, "exit_code": outcome.exit_code}
    _set(connection, attempt, outcome=outcome.kind, message=outcome.message, **values)
    connection.execute(_FREE, {"holder": attempt.uid, "at": at})
    charge(connection, job, attempt, until=at)
    if job.state is State.ADMITTED:  # it ended before the launch could be noted
        job = _launched(connection, attempt, job, at=at)
    after = what_next(job, outcome, at=at)
    columns = {**after.columns, **(values if after.state.final else {})}
    why = after.why or "every rank exited with code 0"
    transition(connection, job, after.state, at=at, who="worker", why=why, reason=after.reason, **columns)
    return True


def cleaned(connection: Connection, gone: Sequence[AttemptRow], *, at: float) -> None:
    """The engine has nothing left of these."""
    connection.execute(_CLEANED, [{"gone": one.uid, "at": at} for one in gone])


def _set(connection: Connection, attempt: AttemptRow, **columns: object) -> None:
    change(connection, attempts, {"uid": attempt.uid}, columns)
