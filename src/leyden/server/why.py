"""Why does a job wait, for whom, and until when? From the scheduler's newest pass."""

from __future__ import annotations

from sqlalchemy import Connection

from leyden.core.devices import parts, split_of, whole
from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.core.wait_views import HolderView, WhyView
from leyden.jobs.fairness import describe
from leyden.jobs.rows import JobRow, find_job
from leyden.jobs.snapshot import Decisions, Running, Snapshot
from leyden.server.services import Services
from leyden.server.waiting import code_of, needs


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
        needs=needs(job),
    )


def _waiting(job: JobRow, snapshot: Snapshot, decisions: Decisions) -> WhyView:
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
        needs=needs(job),
        free=_free(job, snapshot),
        holders=[_holder(one) for one in snapshot.running if _has(one, job)],
        position=line.index(job.id) + 1 if job.id in line else None,
        waiting=len(line),
        standing=describe(job.priority, standing) if standing else "",
        starts_after=expected.low if expected else None,
        starts_before=expected.high if expected else None,
    )


def _free(job: JobRow, snapshot: Snapshot) -> dict[str, int]:
    """What is held by nobody; for who takes a part of a GPU also the parts of those that are split so."""
    held = {device for one in snapshot.running for device in one.devices}
    split = {whole(device): split_of(device) for device in held}
    gpus = [gpu.device for gpu in snapshot.machine.gpus]
    shared = [device for device in gpus if job.share > 1 and split.get(device) == job.share]
    left = sum(part not in held for device in shared for part in parts(device, job.share))
    return {
        "gpus": sum(device not in split for device in gpus),
        **({"share": job.share, "parts": left} if job.share > 1 else {}),
        "cpus": sum(f"cpu:{number}" not in held for number in range(snapshot.machine.cpus)),
    }


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
