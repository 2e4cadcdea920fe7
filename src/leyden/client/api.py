"""What can a program ask the server? One typed method for each thing, answered with the views of leyden.core."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

from leyden.client.transport import Endpoint, Query, Transport
from leyden.core.errors import NotFoundError, UnreachableError
from leyden.core.login import login
from leyden.core.views import AttemptView, EventView, HealthView, JobDetail, JobView

if TYPE_CHECKING:  # each view costs a command that does not ask for it a millisecond
    from leyden.client.sweeps import Sweeps
    from leyden.core.environment import EnvironmentView
    from leyden.core.file_views import ArtifactsView, CheckpointView
    from leyden.core.house import CleanView, ServerView
    from leyden.core.job import Job  # pydantic: 60 ms that `leyden ps` need not pay
    from leyden.core.log_views import MetricView, SeriesView, TailView
    from leyden.core.machine_views import MachineView, QuotaView, TopView
    from leyden.core.origin import Origin
    from leyden.core.wait_views import WhyView

View = TypeVar("View")
_CHUNK_BYTES = 1 << 16


class Client:
    """One server, asked in the name of one token. Raises UnreachableError, or the error the server names."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = 30.0) -> None:
        self.endpoint = endpoint
        self._transport = Transport(endpoint, timeout_s=timeout_s)

    @property
    def sweeps(self) -> Sweeps:
        """What can be asked about sweeps."""
        from leyden.client.sweeps import Sweeps

        return Sweeps(self._transport)

    def health(self) -> HealthView:
        """Whether the server lives, and which it is."""
        return view(HealthView, self._get("/api/health"))

    def server(self) -> ServerView:
        """The server, its rules, what it keeps, how much room there is."""
        from leyden.core.house import ServerView

        return view(ServerView, self._get("/api/server"))

    def clean(self, *, days: float | None = None, really: bool = False) -> CleanView:
        """What nobody needs any more; `really`: removed. `days`: for so long unused, of what can be made again."""
        from leyden.core.house import CleanView, WasteView

        query: Query = {} if days is None else {"days": days}
        fields = self._transport.json("POST" if really else "GET", "/api/clean", query=query, timeout_s=3600)
        return view(CleanView, {**fields, "waste": [view(WasteView, one) for one in fields["waste"]]})

    def machine(self) -> MachineView:
        """What the server's machine has, and which job holds each device."""
        from leyden.core.machine_views import GpuView, MachineView

        fields = self._get("/api/machine")
        return view(MachineView, {**fields, "gpus": [view(GpuView, gpu) for gpu in fields["gpus"]]})

    def top(self) -> TopView:
        """The machine just now: who is on which GPU, how busy it is, and who comes next."""
        from leyden.core.machine_views import GpuTop, JobTop, TopView

        fields = self._get("/api/top")
        parts = {
            "gpus": [view(GpuTop, one) for one in fields["gpus"]],
            "jobs": [view(JobTop, one) for one in fields["jobs"]],
            "waiting": [view(JobView, one) for one in fields["waiting"]],
        }
        return view(TopView, {**fields, **parts})

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
        return view(JobView, fields)

    def jobs(self, *, include_ended: bool = False, limit: int = 1000) -> list[JobView]:
        """Newest first; without `include_ended` those not ended, or ended in the last ten minutes."""
        rows = self._get("/api/jobs", {"all": int(include_ended), "limit": limit})
        return [view(JobView, row) for row in rows]

    def job(self, ref: str) -> JobDetail:
        """One job by id, by a unique ending or beginning of it, or the newest ("last")."""
        fields = self._get(f"/api/jobs/{_quoted(ref)}")
        return JobDetail(
            job=view(JobView, fields["job"]),
            spec=fields["spec"],
            code=fields["code"],
            attempts=[view(AttemptView, one) for one in fields["attempts"]],
            events=[view(EventView, one) for one in fields["events"]],
            commit=_commit(fields.get("commit")),
            cost=fields.get("cost"),
        )

    def get_code(self, sha256: str, into: BinaryIO) -> None:
        """Download a captured tree (tar.gz)."""
        with self._transport.open("GET", f"/api/code/{sha256}", timeout_s=300) as response:
            while chunk := response.read(_CHUNK_BYTES):
                into.write(chunk)

    def environment(self, ref: str) -> EnvironmentView | None:
        """The interpreter and packages of a job's last attempt; None where that is not on record."""
        from leyden.core.environment import EnvironmentView

        fields = self._get(f"/api/jobs/{_quoted(ref)}/environment")
        return fields and EnvironmentView(**{**fields, "packages": tuple(fields["packages"])})

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

    def tail(self, ref: str, *, rank: int, attempt: int, lines: int) -> TailView:
        """Where the last lines begin of what the rank has printed so far; of one over 1 MiB only the end counts."""
        from leyden.core.log_views import TailView

        query: Query = {"rank": rank, "attempt": attempt, "lines": lines}
        return view(TailView, self._get(f"/api/jobs/{_quoted(ref)}/logs/tail", query))

    def stamps(self, ref: str, *, rank: int, attempt: int, after: int) -> list[tuple[int, float]]:
        """When the rank's output was how long: the first pairs that reach beyond byte `after`."""
        query: Query = {"rank": rank, "attempt": attempt, "after": after}
        return [(int(size), float(at)) for size, at in self._get(f"/api/jobs/{_quoted(ref)}/logs/stamps", query)]

    def wait(self, ref: str, *, timeout_s: float = 30.0) -> JobView:
        """The job as soon as it has ended, or as it is after the timeout."""
        query: Query = {"timeout_s": timeout_s}
        path = f"/api/jobs/{_quoted(ref)}/wait"
        return view(JobView, self._transport.json("GET", path, query=query, timeout_s=timeout_s + 30))

    def metrics(self, ref: str) -> list[MetricView]:
        """Every metric of a job in one line each."""
        from leyden.core.log_views import MetricView

        rows = self._get(f"/api/jobs/{_quoted(ref)}/metrics")
        return [view(MetricView, _numbers(row, "last", "least", "greatest")) for row in rows]

    def series(self, ref: str, name: str, *, max_points: int = 1000) -> SeriesView:
        """The points of one metric."""
        from leyden.core.log_views import SeriesView

        fields = self._get(f"/api/jobs/{_quoted(ref)}/metrics/series", {"name": name, "points": max_points})
        return view(SeriesView, {**fields, "values": [_number(value) for value in fields["values"]]})

    def cancel(self, ref: str) -> JobView:
        """Ask a job to stop."""
        return self._change(ref, "cancel")

    def pause(self, ref: str) -> JobView:
        """Have a job save a checkpoint and give its devices back until it is resumed. Raises ConflictError."""
        return self._change(ref, "pause")

    def resume(self, ref: str) -> JobView:
        """Put a paused job back into the queue. Raises ConflictError."""
        return self._change(ref, "resume")

    def hold(self, ref: str) -> JobView:
        """Keep a job that waits from starting. Raises ConflictError."""
        return self._change(ref, "hold")

    def release(self, ref: str) -> JobView:
        """Let a held job start. Raises ConflictError."""
        return self._change(ref, "release")

    def retry(self, ref: str, *, user: str = "") -> JobView:
        """Run an ended job once more, as a new one of `user`, from its newest checkpoint. Raises ConflictError."""
        return self._again(ref, "retry", {"user": user})

    def fork(
        self, ref: str, *, step: int | None = None, new: Mapping[str, str] | None = None, user: str = ""
    ) -> JobView:
        """A new job from a checkpoint of another (the newest without `step`), `new` over its arguments."""
        return self._again(ref, "fork", {"user": user, "step": step, "set": dict(new or {})})

    def why(self, ref: str) -> WhyView:
        """Why a job waits, for whom, and until when."""
        from leyden.core.wait_views import HolderView, WhyView

        fields = self._get(f"/api/jobs/{_quoted(ref)}/why")
        return view(WhyView, {**fields, "holders": [view(HolderView, one) for one in fields["holders"]]})

    def events(self, *, after: int = 0, ref: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """Changes of jobs' states with numbers above `after`, in order."""
        query: dict[str, str | int | float] = {"after": after, "limit": limit}
        if ref is not None:
            query["job"] = ref
        found: list[dict[str, Any]] = self._get("/api/events", query)
        return found

    def watch(self, *, after: int = 0, ref: str | None = None) -> Iterator[dict[str, Any]]:
        """The same as they come, without end. Raises UnreachableError; ask again after the last one's `id`."""
        query: dict[str, str | int | float] = {"after": after, "follow": 1}
        if ref is not None:
            query["job"] = ref
        with self._transport.open("GET", "/api/events", query=query, timeout_s=60) as response:
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def artifacts(self, ref: str, *, attempt: int | None = None) -> ArtifactsView:
        """The files a job left: the newest of each, or those there were when that attempt had ended."""
        from leyden.core.file_views import ArtifactsView, ArtifactView, RefusedView

        query: Query = {} if attempt is None else {"attempt": attempt}
        fields = self._get(f"/api/jobs/{_quoted(ref)}/artifacts", query)
        files = [view(ArtifactView, one) for one in fields["artifacts"]]
        refused = [view(RefusedView, one) for one in fields["refused"]]
        return view(ArtifactsView, {**fields, "artifacts": files, "refused": refused})

    def checkpoints(self, ref: str) -> list[CheckpointView]:
        """The checkpoints of a job, newest first."""
        return [_checkpoint(one) for one in self._get(f"/api/jobs/{_quoted(ref)}/checkpoints")]

    def expired_checkpoints(self, *, keep: int | None = None, days: float | None = None) -> list[CheckpointView]:
        """Those that the server's rule lets go, or another rule would. Raises UsageError where there is no rule."""
        query: dict[str, str | int | float] = {} if keep is None else {"keep": keep}
        if days is not None:
            query["days"] = days
        return [_checkpoint(one) for one in self._get("/api/checkpoints/expired", query)]

    def pin_checkpoint(self, ref: str, name: str, *, pinned: bool = True) -> CheckpointView:
        """See that a checkpoint is not removed, or no longer."""
        path = f"/api/jobs/{_quoted(ref)}/checkpoints/{quote(name, safe='')}/pin"
        return _checkpoint(self._transport.json("PUT" if pinned else "DELETE", path))

    def remove_checkpoint(self, ref: str, name: str) -> CheckpointView:
        """Remove a checkpoint; it as it was. Raises ConflictError for one that must stay."""
        return _checkpoint(
            self._transport.json("DELETE", f"/api/jobs/{_quoted(ref)}/checkpoints/{quote(name, safe='')}")
        )

    @contextmanager
    def open_file(
        self, path: str, headers: Mapping[str, str], *, attempt: int | None = None, timeout_s: float | None = None
    ) -> Iterator[HTTPResponse]:
        """An artifact or a file of a checkpoint by its path in the API; ETag is its SHA-256, parts go by Range."""
        query: Query = {} if attempt is None else {"attempt": attempt}
        with self._transport.open("GET", path, query=query, more_headers=headers, timeout_s=timeout_s) as response:
            yield response

    def quotas(self) -> list[QuotaView]:
        """Every user with a quota or with something used of late."""
        from leyden.core.machine_views import QuotaView

        return [view(QuotaView, row) for row in self._get("/api/quotas")]

    def set_quota(self, user: str, *, gpus: int | None, cpus: int | None) -> None:
        """The most the user may hold at a time; "*" for whoever has no quota of their own, None for no limit."""
        self._transport.json("PUT", f"/api/quotas/{_quoted(user)}", body={"gpus": gpus, "cpus": cpus})

    def remove_quota(self, user: str) -> None:
        """The user has the quota of everybody again."""
        self._transport.json("DELETE", f"/api/quotas/{_quoted(user)}")

    def _change(self, ref: str, what: str) -> JobView:
        path = f"/api/jobs/{_quoted(ref)}/{what}"
        return view(JobView, self._transport.json("POST", path, query={"user": login()}))

    def _again(self, ref: str, what: str, body: dict[str, object]) -> JobView:
        body |= {"key": os.urandom(16).hex(), "user": body["user"] or login()}
        return view(JobView, self._transport.json("POST", f"/api/jobs/{_quoted(ref)}/{what}", body=body))

    def _get(self, path: str, query: Query | None = None) -> Any:
        return self._transport.json("GET", path, query=query)


def view(kind: type[View], fields: Mapping[str, Any]) -> View:
    """The dataclass of these fields; ones that a newer server added are left out."""
    known = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]  # every view is a dataclass
    return kind(**{key: value for key, value in fields.items() if key in known})


def _checkpoint(fields: Mapping[str, Any]) -> CheckpointView:
    from leyden.core.file_views import CheckpointFileView, CheckpointView

    files = [view(CheckpointFileView, one) for one in fields["files"]]
    return view(CheckpointView, {**fields, "files": files})


def _commit(fields: dict[str, Any] | None) -> Origin | None:
    if not fields:
        return None
    from leyden.core.origin import Origin

    return Origin(**{**fields, "changed": tuple(fields["changed"])})


def _numbers(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**fields, **{name: _number(fields[name]) for name in names}}


def _number(value: float | str | None) -> float:
    """JSON has no NaN and no infinity: they travel as null or as words."""
    return math.nan if value is None else float(value)


def _quoted(ref: str) -> str:
    return quote(ref, safe="") or "last"
