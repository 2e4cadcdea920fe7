"""What can be asked of a job's checkpoints: which there are, their files, that they stay, that they go?"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from leyden.core.errors import ConflictError, NotFoundError, UsageError, nearest
from leyden.core.file_views import CheckpointFileView, CheckpointView
from leyden.core.ids import short_id
from leyden.jobs.rows import JobRow, find_job
from leyden.server.bodies import INT, TEXT, FilePath, Ref
from leyden.server.files.artifacts import Digests, open_file
from leyden.server.files.ranges import Asked, respond
from leyden.server.files.retention import Fate, Retention, expired, fates, needed, of_folder
from leyden.server.launching import HOLD
from leyden.server.openapi import file_answers
from leyden.server.services import Services
from leyden.track import checkpoints
from leyden.track.checkpoints import Checkpoint

Name = Annotated[
    str, InPath(min_length=1, max_length=255, pattern=TEXT, description='Its name, a link to it ("last"), or its step.')
]
Keep = Annotated[int | None, Query(ge=1, le=INT, description="So many of each job stay.")]
Days = Annotated[
    float | None, Query(ge=0, le=36_500, allow_inf_nan=False, description="Of jobs that ended so long ago.")
]


def add_checkpoints(app: FastAPI, services: Services) -> None:
    """The routes."""
    _add_reading(app, services)
    _add_changing(app, services)
    _add_expired(app, services)


def _add_reading(app: FastAPI, services: Services) -> None:
    digests = Digests()

    @app.get("/api/jobs/{ref}/checkpoints", response_model=list[CheckpointView])
    def get_checkpoints(ref: Ref) -> Response:
        """The checkpoints of a job, newest first; when each goes, or why it stays."""
        job, folder = _job_of(services, ref)
        found, needed_ = checkpoints.found(folder), of_folder(folder, services.store.read(needed))
        rule, ended_at = services.files.retention, job.ended_at if job.state.final else None
        fate = fates(found, rule, ended_at=ended_at, needed=needed_)
        return JSONResponse([asdict(view(job.id, one, fate[one.name])) for one in found])

    path = "/api/jobs/{ref}/checkpoints/{name}/files/{path:path}"

    @app.head(path, response_class=Response, responses=file_answers(head=True))
    def head_checkpoint_file(request: Request, ref: Ref, name: Name, path: FilePath, asked: Asked) -> Response:
        """The size and the hash of one file of a checkpoint."""
        return get_checkpoint_file(request, ref, name, path, asked)

    @app.get(path, response_class=Response, responses=file_answers())
    def get_checkpoint_file(request: Request, ref: Ref, name: Name, path: FilePath, asked: Asked) -> Response:
        """The bytes of one file of a checkpoint, or a part."""
        job, folder = _job_of(services, ref)
        one = pick(folder, job, name)
        try:
            content = open_file(folder / one.name, path, digests)
        except OSError:
            content = None
        if content is None:
            raise NotFoundError(
                asked=f"the file {path!r} of checkpoint {one.name}",
                found="it has no such file",
                do=f"It has {', '.join(file.path for file in one.files)}.",
            )
        return respond(request, content)


def _add_changing(app: FastAPI, services: Services) -> None:
    @app.put("/api/jobs/{ref}/checkpoints/{name}/pin", response_model=CheckpointView)
    def put_pin(ref: Ref, name: Name) -> Response:
        """See that nobody removes the checkpoint: not the Trainer, not the server, not `leyden ckpt rm`."""
        return _pin(ref, name, pinned=True)

    @app.delete("/api/jobs/{ref}/checkpoints/{name}/pin", response_model=CheckpointView)
    def delete_pin(ref: Ref, name: Name) -> Response:
        """Take the pin away."""
        return _pin(ref, name, pinned=False)

    def _pin(ref: str, name: str, *, pinned: bool) -> Response:
        job, folder = _job_of(services, ref)
        one = pick(folder, job, name)
        checkpoints.pin(folder, one.name, pinned=pinned)
        return JSONResponse(asdict(view(job.id, pick(folder, job, one.name))))

    @app.delete("/api/jobs/{ref}/checkpoints/{name}", response_model=CheckpointView)
    def delete_checkpoint(ref: Ref, name: Name) -> Response:
        """Remove a checkpoint; it as it was.

        Not one that is pinned, the newest of a job that has not ended, or one that such a job began from.
        """
        job, folder = _job_of(services, ref)
        with HOLD:  # a fork that is being made has it on record by now, or will not find it
            one = pick(folder, job, name)
            refuse_removal(job, one, checkpoints.found(folder))
            used = services.store.read(lambda connection: needed(connection, ended=False))
            if by := used.get(str(folder / one.name)):
                raise _must_stay(job, one, f"job {short_id(by)} began from it", "Wait until that job has ended.")
            hidden = checkpoints.hide(folder, one.name)
        shutil.rmtree(hidden, ignore_errors=True)
        return JSONResponse(asdict(view(job.id, one)))


def _add_expired(app: FastAPI, services: Services) -> None:
    @app.get("/api/checkpoints/expired", response_model=list[CheckpointView])
    def get_expired(keep: Keep = None, days: Days = None) -> Response:
        """The checkpoints of all jobs that the server's rule lets go, or that another rule would."""
        rule = services.files.retention
        if keep is not None or days is not None:
            rule = Retention(keep=keep or rule.keep or 1, days=rule.days if days is None else days)
        if not rule.keep:
            raise UsageError(
                asked="checkpoints that have expired",
                found="this server removes none",
                do="Say what would be kept: --keep 1 --days 30; or start it with --keep-checkpoints and --keep-days.",
            )
        found = expired(services.store, services.home, rule, now=services.clock())
        return JSONResponse([asdict(view(job_id, one)) for job_id, one in found])


def _job_of(services: Services, ref: str) -> tuple[JobRow, Path]:
    """The job, and the folder of its checkpoints."""
    job = services.store.read(lambda connection: find_job(connection, ref))
    return job, services.home.runs / job.id / checkpoints.FOLDER


def pick(folder: Path, job: JobRow, name: str) -> Checkpoint:
    """The checkpoint of that name, link ("last") or step. Raises NotFoundError."""
    found = checkpoints.found(folder)
    step = name.removeprefix("step=")
    for one in found:
        if name == one.name or name in one.names:
            return one
    for one in found:
        if step == str(one.step):
            return one
    if name == "newest" and found:
        return found[0]
    known = [one.name for one in found]
    raise NotFoundError(
        asked=f"checkpoint {name!r} of job {job.id}",
        found="there is none of that name or step" if known else "the job has none",
        do=f"See `leyden ckpt ls {short_id(job.id)}`" + (f"; {nearest(name, known)}" if known else "."),
    )


def refuse_removal(job: JobRow, one: Checkpoint, found: list[Checkpoint]) -> None:
    """Raise ConflictError for what must stay."""
    if one.pinned:
        do = f"Unpin it first: `leyden ckpt pin --off {short_id(job.id)} {one.name}`."
        raise _must_stay(job, one, "it is pinned", do)
    if not job.state.final and found and one.name == found[0].name:
        why = f"it is the newest, and the job, which is {job.state}, may go on from it"
        raise _must_stay(job, one, why, "Remove older ones, or wait until the job has ended.")


def _must_stay(job: JobRow, one: Checkpoint, why: str, do: str) -> ConflictError:
    return ConflictError(asked=f"checkpoint {one.name} of job {short_id(job.id)} was to be removed", found=why, do=do)


def view(job_id: str, one: Checkpoint, fate: Fate | None = None) -> CheckpointView:
    """As the API tells it."""
    fate = fate or Fate()
    return CheckpointView(
        job=job_id,
        name=one.name,
        epoch=one.epoch,
        step=one.step,
        created_at=one.created_at,
        size_bytes=one.size_bytes,
        metrics=one.metrics,
        pinned=one.pinned,
        names=list(one.names),
        files=[CheckpointFileView(path=file.path, size_bytes=file.size_bytes) for file in one.files],
        damaged=one.damaged,
        goes_at=fate.goes_at,
        stays=fate.stays,
    )
