"""Which routes are there about runs? Each parses, asks the tracker, and answers with a view."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path as FilePath
from typing import Annotated, Any, Final, Literal

from fastapi import Body as Sent
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from leyden.core.errors import NotFoundError, SpecError
from leyden.core.run_views import CurveView, MediumView, NamesView, PushedView, RunDetailView, RunsView, RunView
from leyden.server.bodies import BIG, TEXT, Body, Text
from leyden.server.changes import Changes
from leyden.server.faults import response
from leyden.server.files.ranges import Asked as AskedPart
from leyden.server.files.ranges import Content, respond
from leyden.server.openapi import data, file_answers, stream
from leyden.server.tracking.curves import drawn
from leyden.server.tracking.live import Live
from leyden.server.tracking.push import MOST_BYTES, FullError, GapError
from leyden.server.tracking.query import Asked, check_sort
from leyden.server.tracking.tracker import Tracker, read_media
from leyden.track.sealed import SEALED, is_sealed

MOST_POINTS: Final = 100_000
_CHUNK: Final = 1 << 20

RunRef = Annotated[
    str,
    Path(
        min_length=1, max_length=120, pattern=TEXT, description="A run: its id, a unique part of that, name, or last."
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=1000, pattern=TEXT)]
Filter = Annotated[str, Query(max_length=4000, description="As in `status=running val_loss<0.3 user=ada`.")]
Commas = Annotated[str, Query(max_length=4000, description="Names, with commas between them.")]
Names = Annotated[list[Name], Query(min_length=1, max_length=200, description="Metrics; repeat it for more.")]
Most = Annotated[int, Query(ge=1, le=MOST_POINTS, description="Draw at most so many, of each curve.")]
Axis = Annotated[Literal["step", "time"], Query(description="What bounds and order are about.")]
Bound = Annotated[float | None, Query(description="Only points whose x lies within.", allow_inf_nan=False)]
There = Annotated[str, Path(min_length=1, max_length=1024, pattern=TEXT, description="Of a file of the run.")]
Archived = Annotated[bool, Query(description="Those too that were put away.")]


class RunChange(Body):
    """PATCH /api/runs/{ref}: only what is named changes."""

    name: Annotated[str, Field(min_length=1, max_length=1000, pattern=TEXT)] | None = None
    tags: Annotated[list[Annotated[Text, Field(max_length=200)]], Field(max_length=100)] | None = None
    note: Annotated[str, Field(max_length=100_000, pattern=TEXT)] | None = None
    project: Annotated[str, Field(max_length=1000, pattern=TEXT)] | None = None
    archived: bool | None = None


def add_runs(app: FastAPI, tracker: Tracker, changes: Changes) -> None:
    """All of them."""
    _add_table(app, tracker)
    _add_live(app, tracker, changes)
    _add_curves(app, tracker)
    _add_files(app, tracker)
    _add_one(app, tracker)


def _add_table(app: FastAPI, tracker: Tracker) -> None:
    queries = tracker.queries

    @app.get("/api/runs", response_model=RunsView)
    def get_runs(
        filter: Filter = "",  # noqa: A002
        sort: Annotated[str, Query(max_length=1000, description="Names; `-` before those that run down.")] = "",
        group: Commas = "",
        columns: Commas = "",
        offset: Annotated[int, Query(ge=0, le=BIG)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        archived: Archived = False,
    ) -> Response:
        """A page of the table of runs.

        Names are attributes (state, user, tag, …), metrics or keys of the config; `metrics.` and `config.` before a
        name say which. Quote names that hold a comma. With `group` the page has groups in place of rows.
        """
        keys = _split(sort, "sort")
        check_sort(keys)
        asked = Asked(
            filter=filter, sort=keys, group=_split(group, "group"), columns=_split(columns, "columns"),
            offset=offset, limit=limit, archived=archived,
        )  # fmt: skip
        return _answer(queries.page(asked))

    @app.get("/api/runs/names", response_model=NamesView)
    def get_run_names(
        filter: Filter = "",  # noqa: A002
        prefix: Annotated[str, Query(max_length=1000)] = "",
        archived: Archived = False,
    ) -> Response:
        """Which metrics and keys of configs runs have; the most common first, at most 10,000 of each."""
        return _answer(queries.names(filter, prefix, archived))


def _add_curves(app: FastAPI, tracker: Tracker) -> None:
    @app.get("/api/runs/{ref}/series", response_model=list[CurveView])
    def get_run_series(
        ref: RunRef,
        name: Names,
        points: Most = 1000,
        x: Axis = "step",
        low: Bound = None,
        high: Bound = None,
        rank: Annotated[int | None, Query(ge=-1, le=BIG, description="-1: the worker. All by default.")] = None,
    ) -> Response:
        """Pictures of metrics of a run, one for each rank that logged them."""
        entry = tracker.book.find(ref)
        with tracker.points(entry, name) as some:
            return _answer(drawn(some, name, most=points, x=x, low=low, high=high, rank=rank, run=entry.id))

    @app.get("/api/series", response_model=list[CurveView])
    def get_series_of_runs(
        run: Annotated[list[Name], Query(min_length=1, max_length=100, description="Repeat it for more.")],
        name: Names,
        points: Annotated[int, Query(ge=1, le=10_000)] = 500,
        x: Axis = "step",
        low: Bound = None,
        high: Bound = None,
        relative: Annotated[bool, Query(description="Bounds of time count from the start of each run.")] = False,
    ) -> Response:
        """The same metrics of several runs; runs that have none of them are left out."""
        found: list[CurveView] = []
        for ref in dict.fromkeys(run):
            entry = tracker.book.find(ref)
            since = (entry.started_at or entry.created_at) if relative and x == "time" else 0.0
            begin, end = (bound if bound is None else bound + since for bound in (low, high))
            with tracker.points(entry, name) as some:
                known = {one for _, one in some.metrics()}
                there = [one for one in name if one in known]
                found += drawn(some, there, most=points, x=x, low=begin, high=end, run=entry.id)
        return _answer(found)


def _add_live(app: FastAPI, tracker: Tracker, changes: Changes) -> None:
    live = Live(tracker, changes)
    said = stream(
        "`data:` is `{points: {name: {rank, steps, times, values}}}`, for more ranks with `ranks: [{name, rank, …}]`; "
        "`{reset: true}` where the curves are to be asked for anew; for the table `{changed: [id], version}`, with "
        "`all: true` where too many changed. `id:` is the time of the newest point."
    )

    @app.get("/api/live", response_class=Response, responses={200: said})
    async def get_live(
        run: Annotated[str | None, Query(min_length=1, max_length=120, pattern=TEXT)] = None,
        name: Annotated[list[Name] | None, Query(max_length=200, description="Metrics of that run.")] = None,
        table: Annotated[bool, Query(description="Which runs change, in place of points.")] = False,
        since: Annotated[float | None, Query(description="The client has all up to then.", allow_inf_nan=False)] = None,
        last_event_id: Annotated[str | None, Header(description="In place of `since`.")] = None,
    ) -> Response:
        """Server-sent events while anything changes, without end."""
        if table == (run is not None):
            do = "Give run=… and name=…, or table=1."
            raise SpecError(asked="/api/live", found="it wants either a run or the table", do=do)
        if run is None:
            body = live.table()
        else:
            if not name:
                raise SpecError(asked=f"new points of run {run}", found="no metric is named", do="Give name=….")
            entry = await run_in_threadpool(tracker.book.find, run)
            body = live.points(entry, tuple(name), _moment(last_event_id, since))
        return StreamingResponse(body, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _add_files(app: FastAPI, tracker: Tracker) -> None:
    @app.get("/api/runs/{ref}/media", response_model=list[MediumView])
    def get_media(
        ref: RunRef,
        name: Annotated[str | None, Query(max_length=1000)] = None,
        step: Annotated[int | None, Query(ge=-BIG - 1, le=BIG)] = None,
    ) -> Response:
        """Pictures, tables, histograms and texts of a run, by name and step."""
        some = read_media(tracker.book.folder(tracker.book.find(ref)))
        return _answer([one for one in some if name in (None, one.name) and step in (None, one.step)][:10_000])

    @app.get("/api/runs/{ref}/files/{path:path}", response_class=Response, responses=file_answers())
    def get_run_file(ref: RunRef, path: There, request: Request, asked: AskedPart) -> Response:
        """A picture, table, text or output of a run, as it was written."""
        folder = tracker.book.folder(tracker.book.find(ref))
        if path == SEALED and is_sealed(folder) and not (folder / SEALED).is_file():
            tracker.archive.bring(folder)
        return respond(request, _content(folder, path))

    took = {"requestBody": {"required": True, "content": data("")["content"]}}

    @app.put("/api/runs/{ref}/files/{path:path}", response_model=PushedView, openapi_extra=took)
    async def put_run_file(
        ref: Annotated[str, Path(min_length=1, max_length=120, pattern=TEXT, description="The run's whole id.")],
        path: There,
        request: Request,
        offset: Annotated[int, Query(ge=0, le=BIG, description="Of this piece in the file.")] = 0,
    ) -> Response:
        """Add a piece to a file of a run, which begins with the first.

        Files: metrics/a1-r0.frames, logs/a1-r0.log, media/…, and run.json, config.json, summary.json, tags.json,
        finished.json, which are sent whole. What is there already is compared, so a piece may be sent again. Where
        bytes are missing before it the answer is 409, with `X-Leyden-Size`; where the disk is full 507, and nothing of
        the piece stays.
        """
        piece = await _read(request)
        return await run_in_threadpool(_put, tracker, ref, path, offset, piece)


def _add_one(app: FastAPI, tracker: Tracker) -> None:
    @app.get("/api/runs/{ref}", response_model=RunDetailView)
    def get_run(ref: RunRef) -> Response:
        """All about one run but its points."""
        return _answer(tracker.detail(tracker.book.find(ref)))

    @app.patch("/api/runs/{ref}", response_model=RunView)
    def patch_run(ref: RunRef, change: Annotated[RunChange, Sent()]) -> Response:
        """Change a run's name, tags, note or project, put it away or take it back."""
        found = {name: value for name, value in change.model_dump(exclude_unset=True).items() if value is not None}
        if "tags" in found:
            found["tags"] = tuple(dict.fromkeys(found["tags"]))
        return _answer(tracker.edit(tracker.book.find(ref), found))

    @app.delete("/api/runs/{ref}", status_code=204)
    def delete_run(ref: RunRef) -> Response:
        """Forget a run that has ended, with its folder; the run of a job is only put away."""
        tracker.delete(tracker.book.find(ref))
        return Response(status_code=204)


def _put(tracker: Tracker, run_id: str, path: str, offset: int, piece: bytes) -> Response:
    try:
        size = tracker.files_of(run_id).put(path, offset, piece)
    except GapError as error:
        answer = response(error)
        answer.status_code = 409
        answer.headers["X-Leyden-Size"] = str(error.size_bytes)
        return answer
    except FullError as error:
        answer = response(error)
        answer.status_code = 507
        return answer
    return _answer(PushedView(size_bytes=size))


async def _read(request: Request) -> bytes:
    """The whole piece. Raises SpecError."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            found = f"a piece has at most {MOST_BYTES:,} bytes"
            raise SpecError(asked="a file of a run was sent", found=found, do="Send it in smaller pieces.")
    return b"".join(parts)


def _content(folder: FilePath, path: str) -> Content:
    """A file below the run's folder. Raises NotFoundError."""
    whole = folder / path
    asked, do = f"file {path[:200]!r} of the run", "See /media for those there are."
    parts = FilePath(path).parts
    inside = parts and parts[0] in {"media", "logs", "metrics.parquet"} and ".." not in parts
    if not inside or not whole.resolve().is_relative_to(folder.resolve()) or not whole.is_file():
        raise NotFoundError(asked=asked, found="there is none", do=do)
    file = whole.open("rb")
    status = whole.stat()

    def read(start: int, stop: int) -> Any:
        file.seek(start)
        while start < stop and (piece := file.read(min(_CHUNK, stop - start))):
            start += len(piece)
            yield piece

    stamp = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return Content(
        name=path, sha256=stamp, size_bytes=status.st_size, mtime_s=status.st_mtime, mode=status.st_mode, read=read,
        close=file.close,
    )  # fmt: skip


def _split(text: str, what: str) -> tuple[str, ...]:
    """Names between commas; those in quotes may hold some. Raises SpecError."""
    found: list[str] = []
    at = 0
    while at < len(text):
        down = text[at] == "-" and text[at + 1 : at + 2] == '"'
        if text[at + down] == '"':
            end = text.find('"', at + down + 1)
            if end < 0:
                raise SpecError(asked=what, found=f'the " at character {at + 1} is never closed', do='Add a ".')
            found.append("-" * down + text[at + down + 1 : end])
            at = end + 1
            if at < len(text) and text[at] != ",":
                raise SpecError(asked=what, found=f"no comma at character {at + 1}", do="Put commas between names.")
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            if name := text[at:end].strip():
                found.append(name)
            at = end
        at += 1
    return tuple(found)


def _moment(last: str | None, since: float | None) -> float | None:
    try:
        return float(last) if last else since
    except ValueError:
        return since


def _answer(view: Any) -> Response:
    plain: object = [vars(one) for one in view] if isinstance(view, Sequence) else vars(view)
    return Response(json.dumps(plain, separators=(",", ":"), default=_plain), media_type="application/json")


def _plain(one: object) -> object:
    assert is_dataclass(one)
    return vars(one)
