"""Who uses the machine just now, how much, and who comes next? Read from files that workers keep; nobody is asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, func, select

from leyden.core.devices import whole
from leyden.core.home import Home
from leyden.core.machine_views import GpuTop, JobTop, TopView
from leyden.core.states import ACTIVE, State
from leyden.core.views import JobView
from leyden.engines.base import Gpu, attempt_folder
from leyden.jobs.rows import AttemptRow, JobRow, held_devices, job_row, last_attempts
from leyden.jobs.tables import jobs
from leyden.server.services import Services
from leyden.server.views import of_row
from leyden.worker.usage import PREFIX, read_use

HEAD_OF_QUEUE = 10
FRESH_S = 10.0  # older samples are of a worker that is gone, or stopped

Sample = Mapping[str, float]


def add_top(app: FastAPI, services: Services) -> None:
    """The route of `leyden top`."""

    @app.get("/api/top", response_model=TopView)
    def get_top() -> Response:
        """The machine just now: who is on which GPU, how busy it is, who comes next."""
        return JSONResponse(asdict(top_view(services)))


def top_view(services: Services) -> TopView:
    """The machine as it is now."""
    machine, home = services.machine, services.home
    found = services.store.read(lambda connection: _load(connection, services))
    samples = {row.id: _sample(home, found.attempts.get(row.id)) for row in found.active}
    by_id = {row.id: row for row in found.active}
    holders: dict[str, list[str]] = {}
    for device, job in sorted(found.held.items()):
        if job in by_id:
            holders.setdefault(whole(device), []).append(job)
    return TopView(
        at=services.clock(),
        node=machine.node,
        cpus=machine.cpus,
        cpus_held=sum(device.startswith("cpu:") for device in found.held),
        memory_bytes=machine.memory_bytes,
        gpus=[_gpu(gpu, [by_id[job] for job in holders.get(gpu.device, ())], samples) for gpu in machine.gpus],
        jobs=[_job(row, found.attempts.get(row.id), samples[row.id]) for row in found.active],
        waiting=found.waiting,
        waiting_count=found.waiting_count,
    )


@final
@dataclass(frozen=True, kw_only=True)
class _Found:
    active: list[JobRow]
    attempts: dict[str, AttemptRow]
    held: dict[str, str]
    waiting: list[JobView]
    waiting_count: int


def _load(connection: Connection, services: Services) -> _Found:
    newest = services.last_pass()
    order = newest[1].order[:HEAD_OF_QUEUE] if newest else []
    waits = jobs.c.state == State.QUEUED
    head = select(jobs).where(waits).order_by(jobs.c.priority.desc(), jobs.c.id).limit(HEAD_OF_QUEUE)
    if order:
        head = select(jobs).where(waits & jobs.c.id.in_(order))
    rows = [job_row(row) for row in connection.execute(head)]
    rows.sort(key=lambda row: order.index(row.id) if order else 0)
    running = select(jobs).where(jobs.c.state.in_(list(ACTIVE))).order_by(jobs.c.id)
    active = [job_row(row) for row in connection.execute(running)]
    return _Found(
        active=active,
        attempts=last_attempts(connection, [row.id for row in active]),
        held=held_devices(connection),
        waiting=[of_row(connection, services.home, row) for row in rows],
        waiting_count=connection.scalar(select(func.count()).select_from(jobs).where(waits)) or 0,
    )


def _sample(home: Home, attempt: AttemptRow | None) -> Sample:
    """Without its prefix; empty where there is none, or an old one."""
    found = read_use(attempt_folder(home.runs / attempt.job_id, attempt.number)) if attempt else None
    if found is None or time.time() - found[0] > FRESH_S:
        return {}
    return {name.removeprefix(PREFIX): value for name, value in found[1].items()}


def _gpu(gpu: Gpu, jobs: list[JobRow], samples: Mapping[str, Sample]) -> GpuTop:
    """Several have it where it is shared: the first is named. All of them measure it; a fake one each for itself."""
    of_it = f"gpu{gpu.index}/"
    use, idle = f"{of_it}use_percent", f"{of_it}idle_s"
    sample = max((samples[one.id] for one in jobs), key=lambda one: (one.get(use, -1), one.get(idle, 0)), default={})
    first = jobs[0] if jobs else None
    return GpuTop(
        index=gpu.index,
        name=gpu.name,
        memory_bytes=gpu.memory_bytes,
        job=first.id if first else "",
        job_name=first.name if first else "",
        user=first.user if first else "",
        use_percent=sample.get(use),
        used_bytes=sample.get(f"{of_it}memory_bytes"),
        power_w=sample.get(f"{of_it}power_w"),
        idle_s=sample.get(idle),
    )


def _job(row: JobRow, attempt: AttemptRow | None, sample: Sample) -> JobTop:
    return JobTop(
        id=row.id,
        name=row.name,
        user=row.user,
        devices=list(attempt.devices) if attempt else [],
        started_at=row.started_at,
        cpu_percent=_sum(sample, "cpu_percent"),
        memory_bytes=_sum(sample, "memory_bytes"),
    )


def _sum(sample: Sample, name: str) -> float | None:
    """Over the ranks."""
    values = [value for key, value in sample.items() if key.endswith(name) and not key.startswith("gpu")]
    return sum(values) if values else None
