"""What can a program ask the server? One typed method for each thing, answered with the views of leyden.core."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

from leyden.client.transport import Endpoint, Query, Transport
from leyden.core.errors import NotFoundError, UnreachableError
from leyden.core.views import (
    AttemptView,
    EventView,
    GpuView,
    HealthView,
    JobDetail,
    JobView,
    MachineView,
    MetricView,
    SeriesView,
)

if TYPE_CHECKING:
    from leyden.core.job import Job  # pydantic: 60 ms that `leyden ps` need not pay

View = TypeVar("View")
_CHUNK_BYTES = 1 << 16


class Client:
    """One server, asked in the name of one token. Raises UnreachableError, or the error the server names."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 30.0) -> None:
        self.endpoint = endpoint
        self._transport = Transport(endpoint, timeout_s=timeout_s)

    def health(self) -> HealthView:
        """Whether the server lives, and which it is."""
        return _view(HealthView, self._get("/api/health"))

    def machine(self) -> MachineView:
        """What the server's machine has, and which job holds each device."""
        fields = self._get("/api/machine")
        return _view(MachineView, {**fields, "gpus": [_view(GpuView, gpu) for gpu in fields["gpus"]]})

    def has_code(self, sha256: str) -> bool:
        """Whether a tree of that content hash was uploaded before."""
        try:
            with self._transport.open("HEAD", f"/api/code/{sha256}"):
                return True
        except NotFoundError:
            return False

    def put_code(self, sha256: str, archive: BinaryIO, size_bytes: int) -> None:
        """Upload a captured tree (tar.gz)."""
        with self._transport.open(
            "PUT",
            f"/api/code/{sha256}",
            body=archive,
            content_type="application/gzip",
            size_bytes=size_bytes,
            timeout_s=300,
        ) as response:
            response.read()

    def submit(
        self,
        job: Job,
        *,
        code: str,
        cwd: str,
        submit_dir: str,
        environ: Mapping[str, str],
        user: str,
        key: str = "",
    ) -> JobView:
        """Hand a job in. Sent a second time if the answer was lost; the key makes sure it becomes one job."""
        body = {
            "job": job.model_dump(mode="json"),
            "code": code,
            "cwd": cwd,
            "submit_dir": submit_dir,
            "environ": dict(environ),
            "user": user,
            "key": key or os.urandom(16).hex(),
        }
        try:
            fields = self._transport.json("POST", "/api/jobs", body=body)
        except UnreachableError:
            fields = self._transport.json("POST", "/api/jobs", body=body)
        return _view(JobView, fields)

    def jobs(self, *, include_ended: bool = False, limit: int = 1000) -> list[JobView]:
        """Newest first; without `include_ended` those not ended, or ended in the last ten minutes."""
        rows = self._get("/api/jobs", {"all": int(include_ended), "limit": limit})
        return [_view(JobView, row) for row in rows]

    def job(self, ref: str) -> JobDetail:
        """One job by id, by a unique ending or beginning of it, or the newest ("last")."""
        fields = self._get(f"/api/jobs/{_quoted(ref)}")
        return JobDetail(
            job=_view(JobView, fields["job"]),
            spec=fields["spec"],
            code=fields["code"],
            attempts=[_view(AttemptView, one) for one in fields["attempts"]],
            events=[_view(EventView, one) for one in fields["events"]],
        )

    def logs(
        self,
        ref: str,
        *,
        rank: int = 0,
        attempt: int | None = None,
        offset: int = 0,
        follow: bool = False,
        idle_s: float = 30.0,
    ) -> Iterator[bytes]:
        """The raw output of one rank from byte `offset` on; `follow` waits for more until the job has ended.

        Raises UnreachableError when the connection breaks or nothing came for `idle_s`: ask again from the offset.
        """
        query: dict[str, str | int | float] = {"rank": rank, "offset": offset, "follow": int(follow)}
        if attempt is not None:
            query["attempt"] = attempt
        path = f"/api/jobs/{_quoted(ref)}/logs"
        with self._transport.open("GET", path, query=query, timeout_s=idle_s) as response:
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk

    def wait(self, ref: str, *, timeout_s: float = 30.0) -> JobView:
        """The job as soon as it has ended, or as it is after the timeout."""
        query: Query = {"timeout_s": timeout_s}
        path = f"/api/jobs/{_quoted(ref)}/wait"
        return _view(JobView, self._transport.json("GET", path, query=query, timeout_s=timeout_s + 30))

    def metrics(self, ref: str) -> list[MetricView]:
        """Every metric of a job in one line each."""
        rows = self._get(f"/api/jobs/{_quoted(ref)}/metrics")
        return [_view(MetricView, _numbers(row, "last", "least", "greatest")) for row in rows]

    def series(self, ref: str, name: str, *, max_points: int = 1000) -> SeriesView:
        """The points of one metric."""
        fields = self._get(f"/api/jobs/{_quoted(ref)}/metrics/series", {"name": name, "points": max_points})
        return _view(SeriesView, {**fields, "values": [_number(value) for value in fields["values"]]})

    def cancel(self, ref: str) -> JobView:
        """Ask a job to stop."""
        return _view(JobView, self._transport.json("POST", f"/api/jobs/{_quoted(ref)}/cancel"))

    def _get(self, path: str, query: Query | None = None) -> Any:
        return self._transport.json("GET", path, query=query)


def _view(kind: type[View], fields: Mapping[str, Any]) -> View:
    """The dataclass of these fields; ones that a newer server added are left out."""
    known = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every view is a dataclass
    return kind(**{key: value for key, value in fields.items() if key in known})


def _numbers(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**fields, **{name: _number(fields[name]) for name in names}}


def _number(value: float | str | None) -> float:
    """JSON has no NaN and no infinity: they travel as null or as words."""
    return math.nan if value is None else float(value)


def _quoted(ref: str) -> str:
    return quote(ref, safe="") or "last"
