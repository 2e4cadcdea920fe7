"""What job is a trial? The sweep's own, with the arguments that were chosen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.core.job import Job
from leyden.core.sweep_views import Value
from leyden.jobs.placement import Size
from leyden.jobs.rows import JobRow
from leyden.server.submitting import new_row, settle_job
from leyden.track.checkpoints import FOLDER, found

if TYPE_CHECKING:
    from leyden.server.services import Services
    from leyden.server.sweeps.study import Study

BEGIN = "begin"  # folder of a run with the checkpoint it began from


def size_of(services: Services, study: Study) -> Size:
    """What each trial takes. Raises PlacementError, SpecError."""
    return settle_job(services, shared(study.job, study.spec.per_gpu))


def shared(job: Job, per_gpu: int) -> Job:
    """The job, on a part of a GPU where several are to share one."""
    return job.model_copy(update={"share": per_gpu}) if per_gpu > 1 else job


def trial_job(
    services: Services, study: Study, size: Size, number: int, params: Mapping[str, Value], *, resume_from: str = ""
) -> JobRow:
    """Its job; not on record yet."""
    row = study.row
    name = f"{row.name[:100]}/{number}"
    job = shared(study.job, study.spec.per_gpu).model_copy(update={"args": study.space.args(params), "name": name})
    made = new_row(
        services,
        job,
        size,
        key=f"{row.id}-{number}",
        user=row.user,
        code=row.code,
        cwd=row.cwd,
        submit_dir=row.submit_dir,
        environ=row.environ,
    )
    if not resume_from:
        return made
    begin = services.home.runs / made.id / BEGIN / Path(resume_from).name
    shutil.copytree(resume_from, begin, copy_function=os.link)  # the one who wrote it may remove it any time
    return replace(made, resume_from=str(begin))


def newest_checkpoint(services: Services, job_id: str) -> str:
    """The newest whole one of a trial. Raises FileNotFoundError where it has none."""
    folder = services.home.runs / job_id / FOLDER
    saved = next((one for one in found(folder) if not one.damaged), None)
    if saved is None:
        raise FileNotFoundError(folder)
    return str(folder / saved.name)
