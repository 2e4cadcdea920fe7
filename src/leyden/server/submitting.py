"""How does a request become a job? Checked, sized, its environment kept, then put on record, in that order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from leyden.core.errors import NotFoundError, SpecError
from leyden.core.ids import new_id
from leyden.core.job import Job, make_job
from leyden.core.reasons import PLACING
from leyden.core.states import State
from leyden.jobs import life
from leyden.jobs.placement import Size, refuse_impossible, settle
from leyden.jobs.rows import JobRow, find_job
from leyden.server.bodies import Batch, From, Submission
from leyden.server.launching import code_file, keep_environ, renew

if TYPE_CHECKING:
    from leyden.server.services import Services


def submit(services: Services, body: Submission) -> tuple[JobRow, bool]:
    """The job and whether it is new. Raises SpecError, PlacementError, NotFoundError."""
    seen = services.store.read(lambda connection: life.find_key(connection, body.key))
    if seen:
        return seen, False
    job = make_job(dict(body.job))
    check_place(services, body)
    row = _row(services, job, body, key=body.key, environ=keep_environ(services.home, body.environ))
    return _record(services, [row])[0]


def submit_many(services: Services, body: Batch) -> list[tuple[JobRow, bool]]:
    """All of them in one transaction, or none. Job number n has the key `<key>-<n>`. Raises as `submit` does."""
    check_place(services, body)
    environ = keep_environ(services.home, body.environ)
    rows = []
    for number, fields in enumerate(body.jobs):
        job = make_job(dict(fields), source=f"job {number} of the batch")
        rows.append(_row(services, job, body, key=f"{body.key}-{number}", environ=environ))
    return _record(services, rows)


def again(
    services: Services, origin: JobRow, *, job: Job | None = None, resume_from: str = "", user: str, key: str
) -> tuple[JobRow, bool]:
    """A new job with the code and the environment of another; from a checkpoint, if one is named."""
    spec = (job or Job.model_validate_json(origin.spec)).model_copy(update={"hold": False})
    kept = {name: getattr(origin, name) for name in ("code", "cwd", "submit_dir", "environ")}
    settled = settle_job(services, spec)
    row = new_row(
        services, spec, settled, **kept, key=key, user=user or origin.user, origin=origin.id, resume_from=resume_from
    )
    return _record(services, [row])[0]


def settle_job(services: Services, job: Job) -> Size:
    """The size of a job, which this machine can run. Raises PlacementError, SpecError."""
    size = settle(job.resources, services.machine)
    refuse_impossible(size, services.machine)
    _refuse_pointless(job, size)
    services.prices.refuse_unpriced(job, size)
    return size


def new_row(
    services: Services,
    job: Job,
    size: Size,
    *,
    key: str,
    user: str,
    code: str,
    cwd: str,
    submit_dir: str,
    environ: str,
    origin: str = "",
    resume_from: str = "",
    after: tuple[str, ...] = (),
) -> JobRow:
    """A job that waits, or is held; not on record yet."""
    return JobRow(
        id=new_id(),
        key=key,
        version=1,
        state=State.HELD if job.hold else State.QUEUED,
        reason="held until it is released" if job.hold else PLACING,
        name=job.title,
        user=user or "nobody",
        priority=job.priority,
        spec=job.model_dump_json(),
        code=code,
        cwd=cwd,
        submit_dir=submit_dir,
        **vars(size),
        attempt=0,
        fence=0,
        created_at=services.clock(),
        environ=environ,
        origin=origin,
        resume_from=resume_from,
        after=after,
        time_s=job.time,
        preempt_grace_s=job.preempt.grace_s if job.preempt else None,
    )


def _record(services: Services, rows: Sequence[JobRow]) -> list[tuple[JobRow, bool]]:
    found = services.store.write(lambda connection: life.submit_many(connection, rows))
    services.keeper.wake()
    return found


def _row(services: Services, job: Job, body: Submission | Batch, *, key: str, environ: str) -> JobRow:
    size = settle_job(services, job)
    after: tuple[str, ...] = ()
    if job.after:
        after = services.store.read(lambda connection: tuple(find_job(connection, one).id for one in job.after))
    place = {"code": body.code, "cwd": body.cwd, "submit_dir": body.submit_dir}
    return new_row(services, job, size, **place, key=key, user=body.user, environ=environ, after=after)


def _refuse_pointless(job: Job, size: Size) -> None:
    if job.limits.idle and not size.gpus:
        raise SpecError(
            asked="the job is to be stopped when its GPUs are idle",
            found="it gets no GPU",
            do="Leave --idle out; --stall is for a job that makes no progress.",
        )


def check_place(services: Services, body: From) -> None:
    folder = PurePosixPath(body.cwd)
    if body.code and (folder.is_absolute() or ".." in folder.parts):
        raise SpecError(
            asked=f"the job starts in {body.cwd!r}",
            found="that is not inside the captured tree",
            do="Give a folder relative to the tree.",
        )
    if not body.code and not folder.is_absolute():
        raise SpecError(
            asked=f"the job starts in {body.cwd!r}",
            found="no code was captured, so that names no folder",
            do="Give an absolute folder, or upload the code first.",
        )
    if body.code and not renew(code_file(services.home, body.code)):
        raise NotFoundError(
            asked=f"the job runs the captured tree {body.code[:12]}…",
            found="it was never uploaded",
            do=f"PUT it to /api/code/{body.code} first.",
        )
