"""A job row as submits make them."""

from __future__ import annotations

from dataclasses import replace

from leyden.core.ids import new_id
from leyden.core.job import Job
from leyden.core.policy import Retry
from leyden.core.states import State
from leyden.jobs.rows import JobRow


def a_job(**changes: object) -> JobRow:
    """A queued job that wants one CPU; whatever fails, it is not tried again."""
    job_id = new_id()
    row = JobRow(
        id=job_id,
        key=f"key-{job_id}",
        version=1,
        state=State.QUEUED,
        reason="",
        name="digits",
        user="ada",
        priority=50,
        spec=Job(command=("true",), retry=Retry(infra=0)).model_dump_json(),
        code="",
        cwd="/",
        submit_dir="/",
        gpus=0,
        gpu_model="",
        gpu_memory_bytes=0,
        cpus=1,
        ranks=1,
        attempt=0,
        fence=0,
        created_at=1.0,
    )
    return replace(row, **changes)  # type: ignore[arg-type]
