"""What is shown of a job? The environment and tokens never are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from leyden.core.home import Home
from leyden.core.job import Job
from leyden.core.machine_views import GpuView, MachineView
from leyden.core.origin import read_origin
from leyden.core.states import State
from leyden.core.views import AttemptView, EventView, JobDetail, JobView
from leyden.engines.base import Machine
from leyden.jobs.rows import AttemptRow, JobRow, all_attempts, find_job, held_devices, last_attempts, list_jobs
from leyden.jobs.tables import events
from leyden.server.launching import code_file
from leyden.server.prices import Prices

RECENT_S = 600.0


def one_job(connection: Connection, home: Home, reference: str) -> JobView:
    """A job by reference; raises NotFoundError."""
    return of_row(connection, home, find_job(connection, reference))


def of_row(connection: Connection, home: Home, row: JobRow) -> JobView:
    """A job that was already found."""
    return job_view(home, row, last_attempts(connection, [row.id]).get(row.id))


def many_jobs(connection: Connection, home: Home, *, all_: bool, limit: int, now: float) -> list[JobView]:
    """Newest first; not `all_`: those that have not ended, or lately."""
    rows = list_jobs(connection, since=None if all_ else now - RECENT_S, limit=limit)
    attempts = last_attempts(connection, [row.id for row in rows])
    return [job_view(home, row, attempts.get(row.id)) for row in rows]


def detail(connection: Connection, home: Home, reference: str, *, prices: Prices, now: float) -> JobDetail:
    """All about one job."""
    row = find_job(connection, reference)
    query = select(events).where(events.c.job_id == row.id).order_by(events.c.id)
    attempts = all_attempts(connection, row.id)
    return JobDetail(
        job=of_row(connection, home, row),
        spec=_said(row.spec),
        code=row.code,
        commit=read_origin(code_file(home, row.code)) if row.code else None,
        attempts=[_attempt_view(attempt) for attempt in attempts],
        events=[
            EventView(at=one.at, before=one.before, after=one.after, who=one.who, why=one.why)
            for one in connection.execute(query)
        ],
        cost=prices.cost(attempts, now) if prices.known else None,
    )


def machine_view(connection: Connection, machine: Machine) -> MachineView:
    """What there is and who holds it."""
    gpus = [GpuView(index=gpu.index, name=gpu.name, memory_bytes=gpu.memory_bytes) for gpu in machine.gpus]
    held = held_devices(connection)
    return MachineView(node=machine.node, cpus=machine.cpus, memory_bytes=machine.memory_bytes, gpus=gpus, held=held)


def _said(spec: str) -> dict[str, Any]:
    """What the user said of the job, without what holds for all."""
    job = Job.model_validate_json(spec)
    said = {**job.model_dump(mode="json", exclude_defaults=True), "python": job.python}
    if job.preempt:  # with the usual grace it would be empty, as where nothing was said
        said["preempt"] = job.preempt.model_dump(mode="json")
    return said


def job_view(home: Home, row: JobRow, attempt: AttemptRow | None) -> JobView:
    """A job and its newest attempt, both found."""
    return JobView(
        id=row.id,
        name=row.name,
        user=row.user,
        state=row.state,
        reason="" if row.state is State.RUNNING else row.reason,
        priority=row.priority,
        attempt=row.attempt,
        node=attempt.node if attempt else "",
        devices=list(attempt.devices) if attempt else [],
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        exit_code=row.exit_code,
        run_dir=str(home.runs / row.id),
    )


def _attempt_view(attempt: AttemptRow) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        uid=attempt.uid,
        node=attempt.node,
        devices=list(attempt.devices),
        pid=attempt.pid,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        exit_code=attempt.exit_code,
        outcome=attempt.outcome,
    )
