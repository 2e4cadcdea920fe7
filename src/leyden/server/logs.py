"""How do log bytes get from a rank's file to a client that watches?

The file is looked at again and again, every 10 ms while it grows and every 50 ms while it does not: a read that finds
nothing costs microseconds, needs no thread, and works on file systems that send no notifications.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from leyden.core.errors import NotFoundError
from leyden.jobs.rows import JobRow, find_job, get_job
from leyden.server.changes import wait_for
from leyden.server.services import Services
from leyden.worker.stamps import read_stamps

CHUNK = 256 * 1024
FAST_S, SLOW_S = 0.01, 0.05


def check_rank(job: JobRow, rank: int, attempt: int | None) -> None:
    """Raise NotFoundError where the job has no such rank or attempt."""
    if not 0 <= rank < job.ranks:
        found = f"it has rank 0 to {job.ranks - 1}" if job.ranks > 1 else "it has only rank 0"
        raise NotFoundError(asked=f"the log of rank {rank} of job {job.id}", found=found, do="Give another --rank.")
    if attempt is not None and not 1 <= attempt <= max(1, job.attempt):
        raise NotFoundError(
            asked=f"the log of attempt {attempt} of job {job.id}",
            found=f"it has had {job.attempt}",
            do="Give another attempt.",
        )


def add_stamps(app: FastAPI, services: Services) -> None:
    """The route that says when lines were printed."""

    @app.get("/api/jobs/{ref}/logs/stamps", response_model=list[tuple[int, float]])
    def stamps(ref: str, attempt: int, rank: int = 0, after: Annotated[int, Query(ge=0)] = 0) -> Response:
        """Pairs of bytes so far and seconds since 1970, the first ones that reach beyond byte `after`."""
        job = services.store.read(lambda connection: find_job(connection, ref))
        check_rank(job, rank, attempt)
        return JSONResponse(read_stamps(services.home.runs / job.id / f"logs/a{attempt}-r{rank}.log", after=after))


async def stream(
    services: Services, job: JobRow, *, rank: int, attempt: int, offset: int, follow: bool, onward: bool
) -> AsyncIterator[bytes]:
    """The log from `offset` on; with `follow` until the attempt is over, with `onward` into later attempts."""
    folder = services.home.runs / job.id / "logs"
    reader = _Reader(folder / f"a{attempt}-r{rank}.log", offset)
    try:
        while True:
            change, pause = services.changes.next, FAST_S  # when a job starts, its first line is near
            # Asked before reading: whatever an attempt wrote was written before it was over.
            now = await run_in_threadpool(services.store.read, partial(get_job, job_id=job.id))
            over = not follow or now.state.final or now.attempt > attempt or services.changes.closing
            while not change.is_set() or over:
                data = reader.read()
                if data:
                    pause = FAST_S
                    yield data
                elif over:
                    break
                else:
                    await wait_for(change, pause)
                    pause = min(SLOW_S, pause * 1.5)
            if over:
                if not (follow and onward and now.attempt > attempt) or services.changes.closing:
                    return
                attempt += 1
                reader.close()
                reader = _Reader(folder / f"a{attempt}-r{rank}.log", 0)
    finally:
        reader.close()


class _Reader:
    """A file that may not exist yet, read from an offset."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._descriptor: int | None = None

    def read(self) -> bytes:
        """What came since the last time, nothing where nothing did."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        data = os.pread(self._descriptor, CHUNK, self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
