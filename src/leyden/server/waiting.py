"""Who waits, in which order, for what, and until when? All of them at once, from the scheduler's newest pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, select

from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.core.views import JobView
from leyden.jobs.rows import AttemptRow, JobRow, job_row, last_attempts
from leyden.jobs.snapshot import Decisions
from leyden.jobs.tables import jobs
from leyden.server.services import Services
from leyden.server.views import job_view

_WAITS = (State.QUEUED, State.HELD, State.PAUSED)
_CODES = {State.HELD: ReasonCode.HELD, State.PAUSED: ReasonCode.PAUSED, State.QUEUED: ReasonCode.PLACING}


@dataclass(frozen=True, kw_only=True)
class WaitingView:
    """One job that waits."""

    job: JobView
    code: str  # of core.reasons
    text: str
    needs: dict[str, int]  # gpus (gpus_most, share), cpus
    position: int | None  # in line, from 1; None for who is held or paused
    starts_after: float | None  # estimate
    starts_before: float | None


def add_waiting(app: FastAPI, services: Services) -> None:
    """The route of the dashboard's queue."""

    @app.get("/api/queue", response_model=list[WaitingView])
    def get_queue(limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> Response:
        """Every job that waits, in the order in which they are to start; held and paused ones last."""
        return JSONResponse([asdict(one) for one in queue(services, limit)])


def queue(services: Services, limit: int) -> list[WaitingView]:
    """As it is now."""

    def work(connection: Connection) -> list[WaitingView]:
        query = select(jobs).where(jobs.c.state.in_(list(_WAITS))).order_by(jobs.c.priority.desc(), jobs.c.id)
        rows = [job_row(row) for row in connection.execute(query)]
        rows.sort(key=lambda row: (row.state is not State.QUEUED, places.get(row.id, len(places))))
        attempts = last_attempts(connection, [row.id for row in rows[:limit]])
        return [_view(services, row, attempts.get(row.id), decisions, places.get(row.id)) for row in rows[:limit]]

    last = services.last_pass()
    decisions = last[1] if last else None
    places = {job_id: place for place, job_id in enumerate(decisions.order, 1)} if decisions else {}
    return services.store.read(work)


def needs(job: JobRow) -> dict[str, int]:
    """GPUs, at most so many, or a part of one that is split in `share`; and CPUs."""
    most = {"gpus_most": job.gpus_most} if job.gpus_most else {}
    share = {"share": job.share} if job.share > 1 else {}
    return {"gpus": job.gpus, **most, **share, "cpus": job.cpus}


def code_of(row: JobRow) -> str:
    """For what it waits, as it stands on record; "" where it does not wait."""
    return row.reason_code or str(_CODES.get(row.state, ""))


def _view(
    services: Services, row: JobRow, attempt: AttemptRow | None, decisions: Decisions | None, place: int | None
) -> WaitingView:
    queued = row.state is State.QUEUED and decisions is not None
    reason = decisions.reasons.get(row.id) if queued and decisions else None
    expected = decisions.expected.get(row.id) if queued and decisions else None
    return WaitingView(
        job=job_view(services.home, row, attempt),
        code=str(reason.code) if reason else code_of(row),
        text=reason.text if reason else row.reason,
        needs=needs(row),
        position=place,
        starts_after=expected.low if expected else None,
        starts_before=expected.high if expected else None,
    )
