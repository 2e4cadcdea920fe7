"""Which checkpoints of jobs that ended long ago may go? None, unless the server was told how many are to stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from leyden.core.home import Home
from leyden.core.states import FINAL
from leyden.jobs.store import Store
from leyden.jobs.tables import jobs
from leyden.track import checkpoints
from leyden.track.checkpoints import Checkpoint

DAY_S: Final = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Of jobs that ended `days` ago, the newest `keep` checkpoints and those that are pinned stay."""

    keep: int
    days: float


def expired(store: Store, home: Home, rule: Retention, *, now: float) -> list[tuple[str, Checkpoint]]:
    """What the rule lets go, with the jobs they belong to."""

    def ended(connection: Connection) -> list[str]:
        query = select(jobs.c.id).where(jobs.c.state.in_(list(FINAL)), jobs.c.ended_at <= now - rule.days * DAY_S)
        return list(connection.scalars(query.order_by(jobs.c.id)))

    kept = store.read(needed)
    return [
        (job_id, one)
        for job_id in store.read(ended)
        for one in checkpoints.expired(checkpoints.found(home.runs / job_id / checkpoints.FOLDER), rule.keep)
        if str(home.runs / job_id / checkpoints.FOLDER / one.name) not in kept
    ]


def needed(connection: Connection) -> dict[str, str]:
    """The checkpoints of other jobs that jobs which have not ended start from → such a job."""
    query = select(jobs.c.resume_from, jobs.c.id).where(jobs.c.state.not_in(list(FINAL)), jobs.c.resume_from != "")
    return {row.resume_from: row.id for row in connection.execute(query)}


def sweep(store: Store, home: Home, rule: Retention, *, now: float) -> None:
    """Remove what the rule lets go."""
    for job_id, one in expired(store, home, rule, now=now):
        checkpoints.remove(home.runs / job_id / checkpoints.FOLDER, one.name)
        print(f"removed checkpoint {one.name} of job {job_id}: expired", flush=True)
