"""What does the scheduler decide from? One snapshot of the store; of ten thousand waiting jobs only what counts."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select

from leyden.core.ids import short_id
from leyden.core.reasons import Reason, ReasonCode
from leyden.core.states import ACTIVE, FINAL, Intent, State
from leyden.engines.base import Machine
from leyden.jobs.history import History
from leyden.jobs.placement import Size
from leyden.jobs.quotas import all_quotas
from leyden.jobs.retry import LONGEST_PAUSE_S
from leyden.jobs.snapshot import Running, Snapshot, Waiting, Who
from leyden.jobs.tables import events, jobs, leases
from leyden.jobs.usage import load_usage

_OF_ALL: Final = (
    *(jobs.c.id, jobs.c.name, jobs.c.user, jobs.c.priority, jobs.c.time_s),
    *(jobs.c.gpus, jobs.c.cpus, jobs.c.ranks, jobs.c.gpu_model, jobs.c.gpu_memory_bytes, jobs.c.gpus_most),
    jobs.c.share,
)

# Built once: to put such a query together takes longer than to ask it.
_WAITING: Final = select(*_OF_ALL, jobs.c.not_before, jobs.c.after, jobs.c.reason).where(jobs.c.state == State.QUEUED)
_HELD: Final = (
    select(leases.c.job_id, leases.c.device, leases.c.acquired_at)
    .where(leases.c.released_at.is_(None))
    .order_by(leases.c.id)
)
_RUNNING: Final = select(*_OF_ALL, jobs.c.state, jobs.c.intent, jobs.c.preempt_grace_s).where(
    jobs.c.state.in_(list(ACTIVE))
)
_NEWEST: Final = (
    select(events.c.id)
    .where(events.c.after.not_in([State.STARTING, State.RUNNING]))
    .order_by(events.c.id.desc())
    .limit(1)
)
AT_ONCE: Final = 10_000  # ids asked for; SQLite takes 32,766 values at most


def load_snapshot(connection: Connection, machine: Machine, *, now: float, history: History | None = None) -> Snapshot:
    """All that waits and all that runs."""
    known = history or History()
    return Snapshot(
        now=now,
        machine=machine,
        waiting=_waiting(connection, known, now),
        running=_running(connection, known),
        used=load_usage(connection, now=now),
        quotas=all_quotas(connection),
        zone=None,
    )


def last_change(connection: Connection) -> Hashable:
    """Another value whenever a quota has changed, or a job in a way that counts: each change of a job leaves an event.

    That one with devices comes to run changes nothing for the others, and would be half of the passes over short jobs.
    """
    return connection.execute(_NEWEST).scalar(), frozenset(all_quotas(connection).items())


def _waiting(connection: Connection, history: History, now: float) -> list[Waiting]:
    # Rows are taken apart by position: by name they cost half of a pass over ten thousand jobs.
    rows = connection.execute(_WAITING).all()
    before = _states(connection, {key for row in rows if row[-2] != "[]" for key in json.loads(row[-2])})
    sizes: dict[tuple[object, ...], Size] = {}
    waiting = []
    for row in rows:
        key, name, user, priority, time_s, *wanted, not_before, after, says = row
        size = sizes.get(tuple(wanted)) or sizes.setdefault(tuple(wanted), _size(*wanted))
        one = Waiting(
            who=Who(job_id=key, name=name, user=user),
            priority=priority,
            size=size,
            time_s=time_s,
            lasts=history.lasts(user, name),
            # No pause is as long as that: the clock was set back, and the job must not wait for it to catch up.
            not_before=None if not_before is not None and not_before - now > LONGEST_PAUSE_S else not_before,
            **({} if after == "[]" else _after(json.loads(after), before)),
            says=says,
        )
        waiting.append(one)
    return waiting


def _running(connection: Connection, history: History) -> list[Running]:
    taken: dict[str, list[Any]] = {}
    for lease in connection.execute(_HELD):
        taken.setdefault(lease.job_id, []).append(lease)
    return [
        Running(
            who=Who(job_id=row.id, name=row.name, user=row.user),
            priority=row.priority,
            devices=tuple(lease.device for lease in taken[row.id]),
            since=taken[row.id][0].acquired_at,
            time_s=row.time_s,
            lasts=history.lasts(row.user, row.name),
            grace_s=row.preempt_grace_s,
            stops=row.state == State.STOPPING,
            makes_way=row.state == State.STOPPING and row.intent == Intent.PREEMPT,
        )
        for row in connection.execute(_RUNNING)
        if row.id in taken
    ]


def _states(connection: Connection, ids: set[str]) -> dict[str, State]:
    known: dict[str, State] = {}
    ordered = sorted(ids)
    for begin in range(0, len(ordered), AT_ONCE):
        query = select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(ordered[begin : begin + AT_ONCE]))
        known.update((key, State(state)) for key, state in connection.execute(query))
    return known


def _after(after: list[str], states: Mapping[str, State]) -> dict[str, Any]:
    blocked = _blocked(after, states)
    still = [key for key in after if states.get(key) is not State.SUCCEEDED] if blocked else []
    return {"blocked": blocked, "after": tuple(still)}


def _blocked(after: list[str], states: Mapping[str, State]) -> Reason | None:
    """Why it may not start yet; None once all those before it have succeeded."""
    failed = [key for key in after if (state := states.get(key)) in FINAL and state is not State.SUCCEEDED]
    if failed:
        one = failed[0]
        return Reason(
            code=ReasonCode.IMPOSSIBLE,
            text=f"comes after job {short_id(one)}, which is {states[one]}; `leyden cancel` takes it out of the queue",
        )
    open_ = [key for key in after if states.get(key) is not State.SUCCEEDED]
    if not open_:
        return None
    names = ", ".join(short_id(key) for key in open_[:3]) + (f" and {len(open_) - 3} more" if len(open_) > 3 else "")
    return Reason(
        code=ReasonCode.AFTER,
        text=f"comes after job {names}, which {'has' if len(open_) == 1 else 'have'} not succeeded yet",
    )


def _size(gpus: int, cpus: int, ranks: int, gpu_model: str, gpu_memory_bytes: int, gpus_most: int, share: int) -> Size:
    return Size(
        gpus=gpus,
        cpus=cpus,
        ranks=ranks,
        gpu_model=gpu_model,
        gpu_memory_bytes=gpu_memory_bytes,
        gpus_most=gpus_most,
        share=share,
    )
