"""How do log bytes get from a rank's file to a client that watches?

The file is looked at again and again, every 10 ms while it grows and every 50 ms while it does not: a read that finds
nothing costs microseconds, needs no thread, and works on file systems that send no notifications.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from fastapi import FastAPI, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from leyden.core.errors import NotFoundError
from leyden.core.log_views import TailView
from leyden.jobs.rows import JobRow, find_job, get_job
from leyden.server.bodies import BIG, INT, Ref
from leyden.server.changes import wait_for
from leyden.server.openapi import data
from leyden.server.services import Services
from leyden.worker.stamps import read_stamps

InRange = Annotated[int, Query(ge=0, le=INT)]
Attempt = Annotated[int | None, Query(ge=0, le=INT, description="The current or last one by default.")]
CHUNK: Final = 256 * 1024
FAST_S, SLOW_S = 0.01, 0.05
LONG_BYTES: Final = 1 << 20  # so far a line is looked back for; of a longer one a tail has only the end


def add_logs(app: FastAPI, services: Services) -> None:
    """The routes that answer with output, with where its end begins, and with when it was printed."""

    said = data("What the rank printed; `X-Leyden-Attempt` says in which attempt.")

    @app.get("/api/jobs/{ref}/logs", response_class=Response, responses={200: said})
    async def get_logs(
        ref: Ref,
        rank: InRange = 0,
        attempt: Attempt = None,
        offset: Annotated[int, Query(ge=0, le=BIG, description="From that byte on.")] = 0,
        limit: Annotated[int | None, Query(ge=0, le=BIG, description="At most so many bytes.")] = None,
        follow: Annotated[bool, Query(description="Until the job has ended, into its next attempts too.")] = False,
    ) -> Response:
        """The output of one rank, byte for byte."""
        job = await run_in_threadpool(services.store.read, lambda connection: find_job(connection, ref))
        check_rank(job, rank, attempt)
        number = attempt or max(1, job.attempt)
        body = stream(services, job, rank=rank, attempt=number, offset=offset, follow=follow, onward=attempt is None)
        headers = {"X-Leyden-Attempt": str(number)}
        sent = body if limit is None else _first(body, limit)
        return StreamingResponse(sent, media_type="application/octet-stream", headers=headers)

    @app.get("/api/jobs/{ref}/logs/tail", response_model=TailView)
    def get_tail(ref: Ref, lines: InRange, rank: InRange = 0, attempt: Attempt = None) -> Response:
        """Where the last lines begin that are there now; of a line longer than 1 MiB only its end counts."""
        job = services.store.read(lambda connection: find_job(connection, ref))
        check_rank(job, rank, attempt)
        number = attempt or max(1, job.attempt)
        return JSONResponse(asdict(find_tail(_log(services, job, rank=rank, attempt=number), lines)))

    @app.get("/api/jobs/{ref}/logs/stamps", response_model=list[tuple[int, float]])
    def get_stamps(
        ref: Ref, attempt: InRange, rank: InRange = 0, after: Annotated[int, Query(ge=0, le=BIG)] = 0
    ) -> Response:
        """When the output was how long.

        Pairs of bytes so far and seconds since 1970, the first ones that reach beyond byte `after`.
        """
        job = services.store.read(lambda connection: find_job(connection, ref))
        check_rank(job, rank, attempt)
        return JSONResponse(read_stamps(_log(services, job, rank=rank, attempt=attempt), after=after))


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


def find_tail(log: Path, lines: int) -> TailView:
    """Where the last `lines` lines of a file begin, read from its end; the file may not be there yet."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return TailView(offset=_tail_offset(file, size, lines), size_bytes=size)
    except FileNotFoundError:
        return TailView(offset=0, size_bytes=0)


def _tail_offset(file: BinaryIO, size: int, lines: int) -> int:
    least = max(0, size - lines * LONG_BYTES)
    begin, left = size, lines + 1  # the last line begins behind the last but one end of a line
    while begin > least and left:
        end, begin = begin, max(least, begin - CHUNK)
        data = os.pread(file.fileno(), end - begin, begin)
        found = len(data)
        if end == size and not data.endswith(b"\n"):
            left -= 1  # that one is not over yet
        while left and (found := data.rfind(b"\n", 0, found)) >= 0:
            left -= 1
            if not left:
                return begin + found + 1
    return least


async def stream(
    services: Services, job: JobRow, *, rank: int, attempt: int, offset: int, follow: bool, onward: bool
) -> AsyncGenerator[bytes]:
    """The log from `offset` on; with `follow` until the attempt is over, with `onward` into later attempts."""
    reader = _Reader(_log(services, job, rank=rank, attempt=attempt), offset)
    try:
        while True:
            pause = FAST_S  # when a job starts, its first line is near
            with services.changes.of(job.id) as change:
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
                reader = _Reader(_log(services, job, rank=rank, attempt=attempt), 0)
    finally:
        reader.close()


async def _first(pieces: AsyncGenerator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Only so many bytes of them."""
    async with contextlib.aclosing(pieces):
        while limit > 0:
            piece = (await anext(pieces, b""))[:limit]
            if not piece:
                return
            limit -= len(piece)
            yield piece


def _log(services: Services, job: JobRow, *, rank: int, attempt: int) -> Path:
    return services.home.runs / job.id / f"logs/a{attempt}-r{rank}.log"


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
