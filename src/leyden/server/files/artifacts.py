"""Which artifacts has a job, and how do their bytes reach a client?

Of attempts that have ended the manifests tell. What lies in the run's folder and is in no manifest yet, as the job
still runs, is shown too, and hashed when somebody asks for it: then as many bytes are sent as were there at that
moment, so that a file that only grows can be had at any time.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, final

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from leyden.core.errors import NotFoundError, ServerError, nearest
from leyden.core.file_views import ArtifactsView, ArtifactView, RefusedView
from leyden.jobs.rows import JobRow, find_job
from leyden.server.bodies import INT, FilePath, Ref
from leyden.server.files.blobs import AwayError, Blobs, read_pieces
from leyden.server.files.ranges import Asked, Content, respond
from leyden.server.files.retention import Retention, is_expired
from leyden.server.openapi import file_answers
from leyden.server.services import Services
from leyden.track import artifacts
from leyden.track.artifacts import Artifact, Manifest, Refused, Stamp

Attempt = Annotated[int | None, Query(ge=1, le=INT, description="As that attempt left it; without, the newest.")]


def add_artifacts(app: FastAPI, services: Services) -> None:
    """The routes."""
    digests = Digests()

    @app.get("/api/jobs/{ref}/artifacts", response_model=ArtifactsView)
    def get_artifacts(ref: Ref, attempt: Attempt = None) -> Response:
        """The files that a job has left, also while it runs."""
        job = services.store.read(lambda connection: find_job(connection, ref))
        rule = services.files.retention
        return JSONResponse(asdict(listed(services.home.runs / job.id, job, attempt, rule)))

    path = "/api/jobs/{ref}/artifacts/{path:path}"

    @app.get(path, response_class=Response, responses=file_answers())
    def get_artifact(request: Request, ref: Ref, path: FilePath, asked: Asked, attempt: Attempt = None) -> Response:
        """The bytes of one of them, or a part."""
        job = services.store.read(lambda connection: find_job(connection, ref))
        content = find(services.home.runs / job.id, job, path, attempt, services.files.blobs, digests)
        return respond(request, content)

    @app.head(path, response_class=Response, responses=file_answers(head=True))
    def head_artifact(request: Request, ref: Ref, path: FilePath, asked: Asked, attempt: Attempt = None) -> Response:
        """The size and the hash of one of them."""
        return get_artifact(request, ref, path, asked, attempt)


def listed(run_dir: Path, job: JobRow, attempt: int | None, rule: Retention | None = None) -> ArtifactsView:
    """The newest version of every artifact, or those there were when that attempt had ended."""
    manifests = _manifests(run_dir, job, attempt)
    if gone_at := is_expired(run_dir):
        return ArtifactsView(job=job.id, goes_at=gone_at, gone=True)
    found = {path: _view(one, number) for path, (number, one) in artifacts.merged(manifests).items()}
    refused = [one for manifest in manifests[-1:] for one in manifest.refused]
    if attempt is None and _looks_live(manifests, job):
        known, refused = artifacts.merged(manifests), []
        for live in artifacts.walk(run_dir / artifacts.FOLDER):
            if isinstance(live, Refused):
                refused.append(live)
            elif live[0] not in known or known[live[0]][1].stamp != Stamp.of(live[1]):
                found[live[0]] = _live_view(*live, job)
    return ArtifactsView(
        job=job.id,
        artifacts=[found[path] for path in sorted(found)],
        refused=[RefusedView(path=one.path, why=one.why) for one in refused],
        goes_at=rule.artifacts_go_at(job) if rule else None,
    )


def find(run_dir: Path, job: JobRow, path: str, attempt: int | None, blobs: Blobs, digests: Digests) -> Content:
    """The artifact's bytes. Raises NotFoundError, ServerError."""
    manifests, folder = _manifests(run_dir, job, attempt), run_dir / artifacts.FOLDER
    if is_expired(run_dir):
        raise NotFoundError(
            asked=f"the artifact {path!r} of job {job.id}",
            found="all it left was removed, as this server keeps artifacts for a time only",
            do="Copy what is to stay, with `leyden cp`, before that.",
        )
    _, known = artifacts.merged(manifests).get(path, (0, None))
    live = attempt is None and _looks_live(manifests, job)
    with suppress(OSError):
        if content := open_file(folder, path, digests, known, only_known=not live):
            return content
    if known is None:
        raise _not_found(job, path, [one.path for one in listed(run_dir, job, attempt).artifacts])
    return _stored(known, job, blobs)


def open_file(
    folder: Path, path: str, digests: Digests, known: Artifact | None = None, *, only_known: bool = False
) -> Content | None:
    """A file as it is now; `only_known`: only if it is still the one that is known, else None. Raises OSError."""
    file = artifacts.inside(folder, path).open("rb", buffering=0)
    try:
        status = os.fstat(file.fileno())
        same = known is not None and known.stamp == Stamp.of(status)
        if only_known and not same:
            file.close()
            return None
        sha256 = known.sha256 if known is not None and same else digests.of(file.fileno(), status)
    except BaseException:
        file.close()
        raise
    return Content(
        name=path,
        sha256=sha256,
        size_bytes=status.st_size,
        mtime_s=status.st_mtime,
        mode=stat.S_IMODE(status.st_mode),
        read=lambda start, stop: read_pieces(file.fileno(), start, stop),
        close=file.close,
    )


@final
class Digests:
    """Hashes of files that no manifest knows yet, by what is cheap to know of them."""

    def __init__(self, size: int = 4096) -> None:
        self._known: OrderedDict[tuple[int, Stamp], str] = OrderedDict()
        self._size = size

    def of(self, descriptor: int, status: os.stat_result) -> str:
        """SHA-256 of as many bytes as the status says."""
        key = status.st_dev, Stamp.of(status)
        if (found := self._known.get(key)) is None:
            found = artifacts.digest(descriptor, status.st_size)
            if Stamp.of(os.fstat(descriptor)) == key[1]:  # else it grows, and has another hash the next time
                self._known[key] = found
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return found


def _manifests(run_dir: Path, job: JobRow, attempt: int | None) -> list[Manifest]:
    if attempt is not None and attempt > job.attempt:
        raise NotFoundError(
            asked=f"the artifacts of attempt {attempt} of job {job.id}",
            found=f"it has had {job.attempt}",
            do="Give another attempt.",
        )
    found = (_read(str(file), *_stamped(file)) for file in run_dir.glob(f"attempts/a*/{artifacts.MANIFEST}"))
    listed = sorted(found, key=lambda one: one.attempt)
    return [one for one in listed if attempt is None or one.attempt <= attempt]


def _stamped(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_ino


@lru_cache(64)  # or each of 10,000 files that are fetched would have all of their manifest read
def _read(file: str, _mtime_ns: int, _inode: int) -> Manifest:
    manifest = artifacts.read(Path(file).parent)
    assert manifest is not None  # it was there a moment ago, and is only ever replaced
    return manifest


def _looks_live(manifests: list[Manifest], job: JobRow) -> bool:
    """Whether the folder may hold what no manifest tells of."""
    return not manifests or manifests[-1].attempt < job.attempt


def _stored(known: Artifact, job: JobRow, blobs: Blobs) -> Content:
    try:
        kept = blobs.has(known)
    except AwayError as error:
        raise _away(known.path, blobs, error) from None
    if not kept:
        raise NotFoundError(
            asked=f"the artifact {known.path} of job {job.id}",
            found="it was changed or deleted before that version was kept",
            do="Write to a new name in each attempt, or have the program write a file whole and rename it.",
        )

    def read(start: int, stop: int) -> Iterator[bytes]:
        yield from blobs.read(known.sha256, start, stop)  # what breaks here breaks the connection: the client goes on

    return Content(
        name=known.path,
        sha256=known.sha256,
        size_bytes=known.size_bytes,
        mtime_s=known.mtime_ns / 1e9,
        mode=known.mode,
        read=read,
    )


def _view(one: Artifact, attempt: int) -> ArtifactView:
    return ArtifactView(
        path=one.path,
        attempt=attempt,
        size_bytes=one.size_bytes,
        modified_at=one.mtime_ns / 1e9,
        mode=one.mode,
        sha256=one.sha256,
    )


def _live_view(path: str, status: os.stat_result, job: JobRow) -> ArtifactView:
    return ArtifactView(
        path=path,
        attempt=job.attempt,
        size_bytes=status.st_size,
        modified_at=status.st_mtime,
        mode=stat.S_IMODE(status.st_mode),
        sha256="",
    )


def _not_found(job: JobRow, path: str, known: list[str]) -> NotFoundError:
    listed = nearest(path, known[:1000]) if known else "the job has none"
    return NotFoundError(
        asked=f"the artifact {path!r} of job {job.id}",
        found="there is none of that name",
        do=f"See `leyden cp {job.id[-4:]}:`; {listed}" + ("" if listed.endswith("?") else "."),
    )


def _away(path: str, blobs: Blobs, error: AwayError) -> ServerError:
    return ServerError(
        asked=f"the artifact {path}", found=f"the store {blobs.url} does not answer: {error}", do="Ask again later."
    )
