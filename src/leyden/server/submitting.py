"""How does a request become a job? Checked, sized, its folder made, then put on record, in that order."""

from __future__ import annotations

import shutil
from pathlib import PurePosixPath

from leyden.core.errors import NotFoundError, SpecError
from leyden.core.ids import new_id
from leyden.core.job import Job, make_job
from leyden.core.states import State
from leyden.jobs import life
from leyden.jobs.placement import refuse_impossible, settle
from leyden.jobs.rows import JobRow
from leyden.server.bodies import Submission
from leyden.server.launching import code_file, write_run
from leyden.server.services import Services


def submit(services: Services, body: Submission) -> tuple[JobRow, bool]:
    """The job and whether it is new. Raises SpecError, PlacementError, NotFoundError."""
    seen = services.store.read(lambda connection: life.find_key(connection, body.key))
    if seen:
        return seen, False
    job = make_job(dict(body.job))
    _check_place(services, body)
    row = _row(services, job, body)
    run_dir = services.home.runs / row.id
    write_run(run_dir, row, job, body.environ)
    recorded, new = services.store.write(lambda connection: life.submit(connection, row))
    if not new:  # the same submit came twice at the same time
        shutil.rmtree(run_dir)
    services.keeper.wake()
    return recorded, new


def _row(services: Services, job: Job, body: Submission) -> JobRow:
    size = settle(job.resources, services.machine)
    refuse_impossible(size, services.machine)
    return JobRow(
        id=new_id(),
        key=body.key,
        version=1,
        state=State.QUEUED,
        reason="waits to be placed",
        name=job.title,
        user=body.user or "nobody",
        priority=job.priority,
        spec=job.model_dump_json(),
        code=body.code,
        cwd=body.cwd,
        submit_dir=body.submit_dir,
        gpus=size.gpus,
        gpu_model=size.gpu_model,
        gpu_memory_bytes=size.gpu_memory_bytes,
        cpus=size.cpus,
        ranks=size.ranks,
        attempt=0,
        fence=0,
        created_at=services.clock(),
    )


def _check_place(services: Services, body: Submission) -> None:
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
    if body.code and not code_file(services.home, body.code).exists():
        raise NotFoundError(
            asked=f"the job runs the captured tree {body.code[:12]}…",
            found="it was never uploaded",
            do=f"PUT it to /api/code/{body.code} first.",
        )
