"""What code did a job run that is in no commit, and how did it differ from another job?"""

from __future__ import annotations

import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import Connection

from leyden.client.difference import Difference, compare_trees, differ_in_code, difference
from leyden.core.environment import EnvironmentView, read_environment
from leyden.core.errors import NotFoundError
from leyden.core.origin import PATCH
from leyden.core.views import JobDetail
from leyden.engines.base import attempt_folder
from leyden.jobs.rows import find_job
from leyden.server import views
from leyden.server.bodies import TEXT, Ref
from leyden.server.launching import code_file
from leyden.server.openapi import data
from leyden.server.services import Services

_LOOKED_AT = 2  # entries of the archive: the origin comes first, then the patch


def add_differing(app: FastAPI, services: Services) -> None:
    """The routes that compare code."""
    home, store = services.home, services.store

    said = data("A unified diff.", "text/plain")

    @app.get("/api/jobs/{ref}/patch", response_class=Response, responses={200: said})
    def get_patch(ref: Ref) -> Response:
        """How the job's code differed from its commit, as `git diff` writes it; empty where it did not."""
        job = store.read(lambda connection: find_job(connection, ref))
        return PlainTextResponse(_patch(code_file(home, job.code)) if job.code else "")

    @app.get("/api/jobs/{ref}/difference", response_model=Difference)
    def get_difference(
        ref: Ref, to: Annotated[str, Query(min_length=1, max_length=120, pattern=TEXT, description="Another job.")]
    ) -> Response:
        """What differs from this job to another: code, arguments, variables, environment, size, policy."""

        def both(connection: Connection) -> tuple[JobDetail, JobDetail]:
            prices, now = services.prices, services.clock()
            one, other = (views.detail(connection, home, name, prices=prices, now=now) for name in (ref, to))
            return one, other

        def environment(job: JobDetail) -> EnvironmentView | None:
            return read_environment(attempt_folder(home.runs / job.job.id, max(1, job.job.attempt)))

        one, other = store.read(both)
        files = []
        if differ_in_code(one, other):
            try:
                with code_file(home, one.code).open("rb") as old, code_file(home, other.code).open("rb") as new:
                    files = list(compare_trees(old, new))
            except FileNotFoundError:
                raise NotFoundError(
                    asked=f"the code of the jobs {one.job.id} and {other.job.id}",
                    found="the tree of one of them is no longer kept",
                    do="`leyden server clean` removes trees that no job on record needs.",
                ) from None
        return JSONResponse(asdict(difference(one, other, (environment(one), environment(other)), files)))


def _patch(archive: Path) -> str:
    try:
        with tarfile.open(archive) as tar:
            for _ in range(_LOOKED_AT):
                member = tar.next()
                if member is not None and member.name == PATCH:
                    content = tar.extractfile(member)
                    return content.read().decode(errors="replace") if content else ""
    except (FileNotFoundError, tarfile.TarError):
        pass
    return ""
