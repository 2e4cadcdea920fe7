"""Why does a job wait, for whom, and until when? From the scheduler's newest pass."""

from __future__ import annotations

from sqlalchemy import Connection

from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.core.wait_views import HolderView, WhyView
from leyden.jobs.fairness import describe
from leyden.jobs.rows import JobRow, find_job
from leyden.jobs.snapshot import Decisions, Running, Snapshot
from leyden.server.services import Services
from leyden.server.waiting import code_of


def why(services: Services, ref: str) -> WhyView:
    """What `leyden why` shows. Raises NotFoundError."""

    def work(connection: Connection) -> JobRow:
        return find_job(connection, ref)

    job, last = services.store.read(work), services.last_pass()
    if job.state is not State.QUEUED or last is None:
        return _plain(job)
    return _waiting(job, *last)


def _plain(job: JobRow) -> WhyView:
    """A job that no pass decides about."""
    return WhyView(
        id=job.id,
        name=job.name,
        state=job.state,
        code=code_of(job),
        text=job.reason,
        priority=job.priority,
        needs=_needs(job),
    )


def _waiting(job: JobRow, snapshot: Snapshot, decisions: Decisions) -> WhyView:
    held = {device: one for one in snapshot.running for device in one.devices}
    free = {
        "gpus": sum(gpu.device not in held for gpu in snapshot.machine.gpus),
        "cpus": sum(f"cpu:{number}" not in held for number in range(snapshot.machine.cpus)),
    }
    reason = decisions.reasons.get(job.id)
    expected = decisions.expected.get(job.id)
    line, standing = decisions.order, decisions.standings.get(job.user)
    return WhyView(
        id=job.id,
        name=job.name,
        state=job.state,
        code=str(reason.code if reason else ReasonCode.PLACING),
        text=reason.text if reason else job.reason,
        priority=job.priority,
        needs=_needs(job),
        free=free,
        holders=[_holder(one) for one in snapshot.running if _has(one, job)],
        position=line.index(job.id) + 1 if job.id in line else None,
        waiting=len(line),
        standing=describe(job.priority, standing) if standing else "",
        starts_after=expected.low if expected else None,
        starts_before=expected.high if expected else None,
    )


def _needs(job: JobRow) -> dict[str, int]:
    most = {"gpus_most": job.gpus_most} if job.gpus_most else {}
    return {"gpus": job.gpus, **most, "cpus": job.cpus}


def _has(one: Running, job: JobRow) -> bool:
    """Whether it holds devices of a kind that the job needs."""
    kinds = {device.partition(":")[0] for device in one.devices}
    return bool(("gpu" in kinds and job.gpus) or ("cpu" in kinds and job.cpus and not job.gpus))


def _holder(one: Running) -> HolderView:
    return HolderView(
        id=one.who.job_id,
        name=one.who.name,
        user=one.who.user,
        devices=list(one.devices),
        since=one.since,
        until=one.since + one.time_s if one.time_s is not None else None,
        stops=one.stops,
    )
