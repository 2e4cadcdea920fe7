"""Which requests begin, show, stop and resume sweeps, and which does a trial make at its rungs?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from leyden.core.errors import SpecError
from leyden.core.ids import new_id
from leyden.core.job import Job, make_job
from leyden.core.sweep import Sweep, make_sweep
from leyden.core.sweep_views import ImportanceView, SweepDetail, SweepPlan, SweepView
from leyden.server.actions import Asker
from leyden.server.bodies import TEXT, Rung, SweepChanges, SweepSubmission
from leyden.server.launching import keep_environ
from leyden.server.services import Services
from leyden.server.submitting import check_place
from leyden.server.sweeps.answers import Answer
from leyden.server.sweeps.foresee import foresee
from leyden.server.sweeps.rows import SweepRow, SweepState, find_sweep, list_sweeps
from leyden.server.sweeps.study import Study
from leyden.server.sweeps.views import load, sweep_detail, sweep_view

Ref = Annotated[
    str,
    Path(
        min_length=1,
        max_length=120,
        pattern=TEXT,
        description='A sweep: its id, a unique ending or beginning of that, the newest of a name, or "last".',
    ),
]
Uid = Annotated[str, Path(max_length=120, pattern=TEXT, description="An attempt.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
_SEEN: dict[int | str, dict[str, Any]] = {
    200: {"model": SweepView, "description": "The sweep that the key made before."}
}


def add_sweeps(app: FastAPI, services: Services) -> None:
    """/api/sweeps…, and POST /api/attempts/{uid}/rung."""
    store = services.store

    def shown(row: SweepRow) -> dict[str, Any]:
        found = store.read(lambda connection: load(connection, row))
        return asdict(sweep_view(found, services.prices, services.clock()))

    @app.post("/api/sweeps", response_model=SweepView, status_code=201, responses=_SEEN)
    def post_sweep(body: SweepSubmission) -> Response:
        """Begin a sweep."""
        job, spec = _checked(body)
        check_place(services, body)
        row, new = services.sweeper.submit(_row(services, body, job, spec, keep_environ(services.home, body.environ)))
        return JSONResponse(shown(row), 201 if new else 200)

    @app.post("/api/sweeps/plan", response_model=SweepPlan)
    def post_plan(body: SweepSubmission) -> Response:
        """What a sweep would do: its trials, what they take, how long and how dear. Nothing is begun."""
        job, spec = _checked(body)
        study = Study(_row(services, body, job, spec, ""), (), (), ())
        return JSONResponse(asdict(foresee(services, study)))

    @app.get("/api/sweeps", response_model=list[SweepView])
    def get_sweeps(limit: Limit = 100) -> Response:
        """Newest first."""

        def read(connection: Connection) -> list[dict[str, Any]]:
            some = (load(connection, row) for row in list_sweeps(connection, limit=limit))
            return [asdict(sweep_view(one, services.prices, services.clock())) for one in some]

        return JSONResponse(store.read(read))

    @app.get("/api/sweeps/{ref}", response_model=SweepDetail)
    def get_sweep(ref: Ref) -> Response:
        """One sweep with its trials and rungs."""
        found = store.read(lambda connection: load(connection, find_sweep(connection, ref)))
        return JSONResponse(asdict(sweep_detail(found, services.prices, services.clock())))

    @app.get("/api/sweeps/{ref}/importance", response_model=ImportanceView)
    def get_importance(ref: Ref) -> Response:
        """How much of the first metric's variation each parameter explains (fANOVA)."""
        row = store.read(lambda connection: find_sweep(connection, ref))
        return JSONResponse(asdict(_importance(store.read(lambda connection: Study.load(connection, row)))))

    _add_changes(app, services, shown)


def _add_changes(app: FastAPI, services: Services, shown: Callable[[SweepRow], dict[str, Any]]) -> None:
    store, sweeper = services.store, services.sweeper

    @app.post("/api/sweeps/{ref}/stop", response_model=SweepView)
    def stop_sweep(ref: Ref, user: Asker = "") -> Response:
        """Pause its trials, until it is resumed."""
        row = store.read(lambda connection: find_sweep(connection, ref))
        return JSONResponse(shown(sweeper.stop(row, user or "user")))

    @app.post("/api/sweeps/{ref}/resume", response_model=SweepView)
    def resume_sweep(ref: Ref, body: SweepChanges | None = None, user: Asker = "") -> Response:
        """Let it go on, with other limits where such are given."""
        row = store.read(lambda connection: find_sweep(connection, ref))
        changes = body.model_dump(exclude_none=True) if body else {}
        return JSONResponse(shown(sweeper.resume(row, changes, user or "user")))

    @app.post("/api/attempts/{uid}/rung", response_model=Answer)
    def post_rung(uid: Uid, body: Rung) -> Response:
        """A trial has trained as far as it may, and asks what it does next."""
        return JSONResponse(asdict(sweeper.measured(uid, body.fence, body.resource, body.values)))


def _checked(body: SweepSubmission) -> tuple[Job, Sweep]:
    job = make_job(dict(body.job))
    if job.hold or job.after:
        raise SpecError(
            asked="a sweep whose jobs wait for others", found="its trials begin by themselves", do="Leave it out."
        )
    return job, make_sweep(dict(body.sweep))


def _row(services: Services, body: SweepSubmission, job: Job, spec: Sweep, environ: str) -> SweepRow:
    return SweepRow(
        id=new_id(),
        key=body.key,
        version=1,
        state=SweepState.RUNNING,
        reason="",
        name=job.title,
        user=body.user or "nobody",
        job=job.model_dump_json(),
        spec=spec.model_dump_json(),
        code=body.code,
        cwd=body.cwd,
        submit_dir=body.submit_dir,
        environ=environ,
        created_at=services.clock(),
    )


def _importance(study: Study) -> ImportanceView:
    from leyden.sweeps.importance import importance  # Optuna and scikit-learn: a second, when somebody asks

    judged = study.judged()
    shares = importance(study.space, judged)
    note = "" if shares else "too few trials have ended, or all with the same value"
    return ImportanceView(trials=len(judged), shares=shares, note=note)
