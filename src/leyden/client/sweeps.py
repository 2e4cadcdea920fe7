"""What can a program ask the server about sweeps?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final
from urllib.parse import quote

from leyden.client.api import view
from leyden.client.transport import Transport
from leyden.core.errors import UnreachableError
from leyden.core.login import login
from leyden.core.sweep_views import (
    ImportanceView,
    PlannedTrial,
    RungView,
    SweepDetail,
    SweepPlan,
    SweepView,
    TrialView,
)

if TYPE_CHECKING:
    from leyden.core.job import Job
    from leyden.core.sweep import Sweep


@final
class Sweeps:
    """Sweeps of one server. Raises UnreachableError, or the error the server names."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def submit(
        self,
        job: Job,
        sweep: Sweep,
        *,
        code: str,
        cwd: str,
        submit_dir: str,
        environ: Mapping[str, str],
        user: str,
        key: str = "",
    ) -> SweepView:
        """Begin a sweep. Sent a second time if the answer was lost; the key makes sure it becomes one."""
        body = _body(job, sweep, code=code, cwd=cwd, submit_dir=submit_dir, environ=dict(environ), user=user, key=key)
        try:
            fields = self._transport.json("POST", "/api/sweeps", body=body)
        except UnreachableError:
            fields = self._transport.json("POST", "/api/sweeps", body=body)
        return _sweep(fields)

    def plan(self, job: Job, sweep: Sweep, *, user: str) -> SweepPlan:
        """What it would do."""
        here = os.getcwd()  # noqa: PTH109
        body = _body(job, sweep, code="", cwd=here, submit_dir=here, environ={}, user=user, key="")
        fields = self._transport.json("POST", "/api/sweeps/plan", body=body)
        return view(SweepPlan, {**fields, "some": [view(PlannedTrial, one) for one in fields["some"]]})

    def all(self, *, limit: int = 100) -> list[SweepView]:
        """Newest first."""
        return [_sweep(one) for one in self._transport.json("GET", "/api/sweeps", query={"limit": limit})]

    def get(self, ref: str) -> SweepDetail:
        """One sweep by id, a unique ending or beginning of it, its name, or "last"."""
        fields = self._transport.json("GET", f"/api/sweeps/{_quoted(ref)}")
        parts = {
            "sweep": _sweep(fields["sweep"]),
            "rungs": [view(RungView, one) for one in fields["rungs"]],
            "trials": [view(TrialView, one) for one in fields["trials"]],
        }
        return view(SweepDetail, {**fields, **parts})

    def importance(self, ref: str) -> ImportanceView:
        """How much each parameter explains."""
        return view(ImportanceView, self._transport.json("GET", f"/api/sweeps/{_quoted(ref)}/importance"))

    def stop(self, ref: str) -> SweepView:
        """Pause its trials."""
        return _sweep(self._transport.json("POST", f"/api/sweeps/{_quoted(ref)}/stop", query={"user": login()}))

    def resume(self, ref: str, changes: Mapping[str, float]) -> SweepView:
        """Let it go on, with other limits."""
        path = f"/api/sweeps/{_quoted(ref)}/resume"
        return _sweep(self._transport.json("POST", path, query={"user": login()}, body=dict(changes)))


def _body(job: Job, sweep: Sweep, *, key: str, **place: Any) -> dict[str, Any]:
    plain = {"job": job.model_dump(mode="json"), "sweep": sweep.model_dump(mode="json")}
    return {**plain, **place, "key": key or os.urandom(16).hex()}


def _sweep(fields: Mapping[str, Any]) -> SweepView:
    best = fields["best"]
    return view(SweepView, {**fields, "best": None if best is None else view(TrialView, best)})


def _quoted(ref: str) -> str:
    return quote(ref, safe="") or "last"
