"""How does a Python program search? `leyden.sweep(Job(...), space={...})` gives a handle to wait for, read and stop."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from leyden.client import embedded
from leyden.client.api import Client
from leyden.client.follow import GIVE_UP_S
from leyden.client.submission import bring
from leyden.core.errors import NotFoundError, UnreachableError
from leyden.core.home import Home
from leyden.core.job import Job
from leyden.core.sweep import make_sweep
from leyden.core.sweep_views import SweepDetail, SweepView, TrialView
from leyden.sweeps.planning import plan

EVERY_S: Final = 0.5


@final
class SweepHandle:
    """One sweep on a server. Methods raise UnreachableError where none answers."""

    def __init__(self, sweep_id: str) -> None:
        self.id = sweep_id

    def __repr__(self) -> str:
        return f"SweepHandle({self.id!r})"

    def view(self) -> SweepDetail:
        """How it is now, with all of its trials."""
        return _client().sweeps.get(self.id)

    @property
    def state(self) -> str:
        """running, stopped, finished or failed."""
        return self.view().sweep.state

    def wait(self) -> SweepDetail:
        """The sweep once it no longer runs; a server that restarts meanwhile is waited for."""
        lost_at: float | None = None
        while True:
            try:
                found, lost_at = self.view(), None
                if found.sweep.state != "running":
                    return found
            except UnreachableError:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > GIVE_UP_S:
                    raise
            time.sleep(EVERY_S)

    def best(self) -> TrialView:
        """The best trial so far. Raises NotFoundError where none has a value."""
        found = self.view().sweep
        if found.best is None:
            asked = f"the best trial of sweep {self.id}"
            raise NotFoundError(asked=asked, found="none has a value yet", do="Wait until one has ended.")
        return found.best

    def stop(self) -> SweepView:
        """Pause its trials."""
        return _client().sweeps.stop(self.id)

    def resume(self, **limits: float) -> SweepView:
        """Let it go on; `trials`, `time` (seconds from now), `cost`, `target`, `max_failures` are other ones then."""
        return _client().sweeps.resume(self.id, limits)


def sweep(
    job: Job,
    *,
    space: Mapping[str, object] | None = None,
    folder: str | Path = ".",
    in_place: bool = False,
    **policy: Any,
) -> SweepHandle:
    """Run a job many times with other arguments; a server is started if none runs.

    `space` maps flags to expressions or lists: `{"lr": "loguniform(1e-4, 1e-1)", "width": [32, 64]}`; expressions among
    the job's own arguments vary too. `policy` are the keys of leyden.core.sweep.Sweep: strategy, metric, trials, ….
    Raises SpecError, CaptureError, PlacementError, UnreachableError.
    """
    spec = make_sweep({"space": dict(space or {}), **policy}, source="leyden.sweep()")
    plan(job, spec)
    view = bring(
        functools.cache(lambda: embedded.ensure(Home.from_environ())),
        job,
        lambda client, job, **place: client.sweeps.submit(job, spec, **place),
        folder=Path(folder).resolve(),
        in_place=in_place,
    )
    return SweepHandle(view.id)


def _client() -> Client:
    return embedded.running(Home.from_environ())
