"""Which routes are there? Each parses, calls one function of the services, and answers with a view."""

from __future__ import annotations

import asyncio
import math
import os
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

import leyden
from leyden.core.house import ServerView
from leyden.core.log_views import MetricView, SeriesView
from leyden.core.machine_views import MachineView
from leyden.core.states import State
from leyden.core.views import HealthView, JobDetail, JobView
from leyden.core.wait_views import WhyView
from leyden.jobs import life
from leyden.jobs.rows import find_job
from leyden.server import events, views
from leyden.server.actions import add_actions
from leyden.server.bodies import BIG, TEXT, NumberedEventView, Ref, Report
from leyden.server.changes import wait_for
from leyden.server.code import add_code
from leyden.server.differing import add_differing
from leyden.server.faults import answer_faults
from leyden.server.files.artifacts import add_artifacts
from leyden.server.files.checkpoints import add_checkpoints
from leyden.server.files.cleaning import add_cleaning
from leyden.server.logs import add_logs
from leyden.server.mlflow.routes import add_mlflow
from leyden.server.openapi import ERRORS, describe, operation_id
from leyden.server.openapi import stream as stream_answer
from leyden.server.quotas import add_quotas
from leyden.server.services import Services
from leyden.server.status import server_view
from leyden.server.sweeps.routes import add_sweeps
from leyden.server.tokens import Guard
from leyden.server.top import add_top
from leyden.server.tracking.routes import add_runs
from leyden.server.waiting import add_waiting
from leyden.server.web import add_web
from leyden.server.why import why
from leyden.track.read import thinned

All = Annotated[bool, Query(description="Those too that ended more than ten minutes ago.")]
After = Annotated[int, Query(ge=0, le=BIG, description="Only those with larger numbers.")]
Timeout = Annotated[float, Query(ge=0, le=3600, allow_inf_nan=False)]


def create_app(services: Services) -> FastAPI:
    """The HTTP API."""
    app = FastAPI(
        title="Leyden",
        version=leyden.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=ERRORS,
        generate_unique_id_function=operation_id,
    )
    describe(app)
    app.add_middleware(Guard, tokens=services.tokens)
    answer_faults(app)
    _add_server(app, services)
    add_code(app, services)
    _add_jobs(app, services)
    add_actions(app, services)
    add_quotas(app, services)
    add_sweeps(app, services)
    _add_records(app, services)
    add_runs(app, services.tracker, services.changes)
    add_logs(app, services)
    add_mlflow(app, services)
    add_top(app, services)
    add_waiting(app, services)
    add_differing(app, services)
    add_artifacts(app, services)
    add_checkpoints(app, services)
    add_cleaning(app, services.files.cleaner)
    _add_reports(app, services)
    add_web(app, services)
    return app


def _add_server(app: FastAPI, services: Services) -> None:
    @app.get("/api/health", response_model=HealthView)
    async def get_health() -> Response:
        """Whether the server lives, and which it is."""
        view = HealthView(
            version=leyden.__version__,
            pid=os.getpid(),
            started_at=services.started_at,
            home=str(services.home.root),
        )
        return _json(view)

    @app.get("/api/machine", response_model=MachineView)
    def get_machine() -> Response:
        """What the machine has, and which job holds each device."""
        return _json(services.store.read(lambda connection: views.machine_view(connection, services.machine)))

    @app.get("/api/server", response_model=ServerView)
    def get_server() -> Response:
        """What `leyden server status` shows: the server, its rules, what it keeps, how much room there is."""
        return _json(server_view(services))


def _add_jobs(app: FastAPI, services: Services) -> None:
    store, home, tracker = services.store, services.home, services.tracker

    @app.get("/api/jobs", response_model=list[JobView])
    def get_jobs(all: All = False, limit: Annotated[int, Query(ge=1, le=10_000)] = 200) -> Response:  # noqa: A002
        """Jobs, newest first."""
        now = services.clock()
        found = store.read(lambda connection: views.many_jobs(connection, home, all_=all, limit=limit, now=now))
        return JSONResponse([asdict(tracker.with_progress(view)) for view in found])

    @app.get("/api/jobs/{ref}", response_model=JobDetail)
    def get_job(ref: Ref) -> Response:
        """All about one job: what it is, its attempts, every change of its state."""
        prices, now = services.prices, services.clock()
        found = store.read(lambda connection: views.detail(connection, home, ref, prices=prices, now=now))
        return _json(replace(found, job=tracker.with_progress(found.job)))

    @app.get("/api/jobs/{ref}/wait", response_model=JobView)
    async def wait_for_job(ref: Ref, timeout_s: Timeout = 30) -> Response:
        """The job as soon as it has ended, or as it is after the timeout."""
        return _json(await _wait(services, ref, timeout_s))

    @app.get("/api/jobs/{ref}/why", response_model=WhyView)
    def get_why(ref: Ref) -> Response:
        """Why a job waits, for whom, and until when."""
        return _json(why(services, ref))

    said = stream_answer(
        "With `follow`: each event as `id:` and `data:`, the event as JSON; a comment while none comes."
    )

    @app.get("/api/events", response_model=list[NumberedEventView], responses={200: said})
    async def get_events(
        request: Request,
        after: After = 0,
        job: Annotated[str | None, Query(min_length=1, max_length=120, pattern=TEXT)] = None,
        follow: Annotated[bool, Query(description="Server-sent events, as they come, without end.")] = False,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        last_event_id: Annotated[str | None, Header(description="With `follow`, in place of `after`.")] = None,
    ) -> Response:
        """Every change of every job's state, in order."""
        job_id = None
        if job is not None:
            job_id = (await run_in_threadpool(store.read, lambda connection: find_job(connection, job))).id
        if follow:
            seen = last_event_id or ""
            after = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 19 else after
            body = events.stream(services, request, after=after, job_id=job_id)
            return StreamingResponse(body, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        found = await run_in_threadpool(
            store.read, lambda connection: events.load_events(connection, after=after, job_id=job_id, limit=limit)
        )
        return JSONResponse(found)


def _add_records(app: FastAPI, services: Services) -> None:
    store, home, tracker = services.store, services.home, services.tracker

    @app.get("/api/jobs/{ref}/metrics", response_model=list[MetricView])
    def get_metrics(ref: Ref) -> Response:
        """Every metric of a job: how many points, the last, least and greatest."""
        job = store.read(lambda connection: find_job(connection, ref))
        return JSONResponse(_finite([asdict(view) for view in tracker.metrics(job.id, home.runs / job.id)]))

    @app.get("/api/jobs/{ref}/metrics/series", response_model=SeriesView)
    def get_series(
        ref: Ref, name: Annotated[str, Query(max_length=1000)], points: Annotated[int, Query(ge=1, le=1_000_000)] = 1000
    ) -> Response:
        """The points of one metric, thinned to as many as asked for."""
        job = store.read(lambda connection: find_job(connection, ref))
        with tracker.curves.of(job.id, home.runs / job.id, [name]) as found:
            return JSONResponse(_finite(asdict(thinned(found, name, points))))


def _add_reports(app: FastAPI, services: Services) -> None:
    @app.post("/api/attempts/{uid}/report", status_code=204)
    def post_report(uid: Annotated[str, Path(pattern=TEXT, description="The attempt's.")], body: Report) -> Response:
        """A worker says that it lives, or how its attempt ended.

        Only with the attempt's own token, and its fence must be the newest: older attempts are refused.
        """

        def work(connection: Connection) -> None:
            attempt = life.check_fence(connection, uid, body.fence)
            if body.kind == "heartbeat":
                life.heartbeat(connection, attempt, at=services.clock())
            elif body.kind == "started" and body.started_at is not None and attempt.started_at is None:
                life.started(connection, attempt, pid=body.pid, at=body.started_at)
            elif body.kind == "ended" and body.outcome:
                life.ended(connection, attempt, body.outcome.plain(), at=services.clock())

        services.store.write(work)
        if body.kind == "ended":
            services.keeper.wake()
        return Response(status_code=204)


async def _wait(services: Services, ref: str, timeout_s: float) -> JobView:
    end = asyncio.get_running_loop().time() + timeout_s
    job = await run_in_threadpool(services.store.read, lambda connection: find_job(connection, ref))
    while True:
        with services.changes.of(job.id) as change:  # before looking, so that no change is missed
            view = await run_in_threadpool(
                services.store.read, lambda connection: views.one_job(connection, services.home, job.id)
            )
            left = end - asyncio.get_running_loop().time()
            if State(view.state).final or left <= 0 or services.changes.closing:
                return view
            await wait_for(change, left)


def _json(view: Any, status: int = 200) -> Response:
    return JSONResponse(asdict(view), status)


def _finite(plain: object) -> object:
    """The same with NaN and infinities as words, as JSON has none: a loss that is NaN must be seen, not fail."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_finite(value) for value in plain]
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain
