"""Which requests change what becomes of a job?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from leyden.core.views import JobView
from leyden.jobs import life
from leyden.jobs.rows import JobRow, find_job
from leyden.server import views
from leyden.server.again import fork, retry
from leyden.server.bodies import TEXT, Again, Batch, Ref, Submission
from leyden.server.services import Services
from leyden.server.submitting import submit, submit_many

Asker = Annotated[str, Query(max_length=120, pattern=TEXT, description="Who asks for it: a name, not a proof.")]


class _Change(Protocol):
    def __call__(self, connection: Connection, job_id: str, *, at: float, who: str) -> JobRow: ...


_CHANGES: dict[str, tuple[_Change, str]] = {
    "cancel": (life.cancel, "Ask a job to stop"),
    "pause": (life.pause, "Have a job save a checkpoint and give its devices back, until it is resumed"),
    "resume": (life.resume, "Put a paused job back into the queue"),
    "hold": (life.hold, "Keep a job that waits from starting"),
    "release": (life.release, "Let a held job start"),
}
_SEEN: dict[int | str, dict[str, Any]] = {200: {"model": JobView, "description": "The job that the key made before."}}


def add_actions(app: FastAPI, services: Services) -> None:
    """POST /api/jobs, /api/jobs/batch and /api/jobs/{ref}/<what is to be done>."""
    store, home = services.store, services.home

    def shown(row: JobRow) -> JobView:
        return store.read(lambda connection: views.of_row(connection, home, row))

    @app.post("/api/jobs", response_model=JobView, status_code=201, responses=_SEEN)
    def post_job(body: Submission) -> Response:
        """Submit a job."""
        row, new = submit(services, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    @app.post("/api/jobs/batch", response_model=list[str], status_code=201)
    def post_jobs(body: Batch) -> Response:
        """Submit many jobs, all of them or none.

        The answer is their ids, in order; a batch whose key was seen before names those made then.
        """
        rows = submit_many(services, body)
        return JSONResponse([row.id for row, _ in rows], 201)

    @app.post("/api/jobs/{ref}/retry", response_model=JobView, status_code=201, responses=_SEEN)
    def post_retry(ref: Ref, body: Again) -> Response:
        """Run an ended job once more, as a new one, from its newest checkpoint."""
        row, new = retry(services, ref, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    @app.post("/api/jobs/{ref}/fork", response_model=JobView, status_code=201, responses=_SEEN)
    def post_fork(ref: Ref, body: Again) -> Response:
        """A new job from a checkpoint of another, some arguments changed."""
        row, new = fork(services, ref, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    for name, (change, said) in _CHANGES.items():
        route = app.post(f"/api/jobs/{{ref}}/{name}", name=f"{name}_job", summary=said, response_model=JobView)
        route(_action(services, change))


def _action(services: Services, change: _Change) -> Callable[[str, str], Response]:
    def action(ref: Ref, user: Asker = "") -> Response:
        def work(connection: Connection) -> JobView:
            job = find_job(connection, ref)
            changed = change(connection, job.id, at=services.clock(), who=user or "user")
            return views.of_row(connection, services.home, changed)

        view = services.store.write(work)
        services.keeper.wake()
        return JSONResponse(asdict(view))

    return action
