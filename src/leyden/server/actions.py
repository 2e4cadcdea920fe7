"""Which requests change what becomes of a job?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from leyden.core.views import JobView
from leyden.jobs import life
from leyden.jobs.rows import JobRow, find_job
from leyden.server import views
from leyden.server.again import fork, retry
from leyden.server.bodies import Again, Batch, Submission
from leyden.server.services import Services
from leyden.server.submitting import submit, submit_many


class _Change(Protocol):
    def __call__(self, connection: Connection, job_id: str, *, at: float, who: str) -> JobRow: ...


_CHANGES: dict[str, _Change] = {
    "cancel": life.cancel,
    "pause": life.pause,
    "resume": life.resume,
    "hold": life.hold,
    "release": life.release,
}


def add_actions(app: FastAPI, services: Services) -> None:
    """POST /api/jobs, /api/jobs/batch and /api/jobs/{ref}/<what is to be done>."""
    store, home = services.store, services.home

    def shown(row: JobRow) -> JobView:
        return store.read(lambda connection: views.of_row(connection, home, row))

    @app.post("/api/jobs", response_model=JobView, status_code=201)
    def post_job(body: Submission) -> Response:
        row, new = submit(services, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    @app.post("/api/jobs/batch", response_model=list[str], status_code=201)
    def post_jobs(body: Batch) -> Response:
        rows = submit_many(services, body)
        return JSONResponse([row.id for row, _ in rows], 201)

    @app.post("/api/jobs/{ref}/retry", response_model=JobView, status_code=201)
    def post_retry(ref: str, body: Again) -> Response:
        row, new = retry(services, ref, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    @app.post("/api/jobs/{ref}/fork", response_model=JobView, status_code=201)
    def post_fork(ref: str, body: Again) -> Response:
        row, new = fork(services, ref, body)
        return JSONResponse(asdict(shown(row)), 201 if new else 200)

    for name, change in _CHANGES.items():
        app.post(f"/api/jobs/{{ref}}/{name}", name=name, response_model=JobView)(_action(services, change))


def _action(services: Services, change: _Change) -> Callable[[str], Response]:
    def action(ref: str) -> Response:
        def work(connection: Connection) -> JobView:
            job = find_job(connection, ref)
            return views.of_row(connection, services.home, change(connection, job.id, at=services.clock(), who="user"))

        view = services.store.write(work)
        services.keeper.wake()
        return JSONResponse(asdict(view))

    return action
