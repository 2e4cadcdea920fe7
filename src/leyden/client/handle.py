"""How does a Python program run jobs? `leyden.submit(Job(...))` gives a handle to wait for, read from, and stop."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

from leyden.client import embedded
from leyden.client.api import Client
from leyden.client.follow import Follower, lines
from leyden.client.submission import submit as hand_in
from leyden.core.home import Home
from leyden.core.job import Job
from leyden.core.log_views import MetricView, SeriesView
from leyden.core.states import State
from leyden.core.views import JobView


@final
class Handle:
    """One job on a server. Methods raise UnreachableError where none answers, NotFoundError for what is not there."""

    def __init__(self, job_id: str, connect: Mapping[str, str] | None = None) -> None:
        self.id = job_id
        self._environ = connect

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    def view(self) -> JobView:
        """How the job is now."""
        return self._client().job(self.id).job

    @property
    def state(self) -> State:
        """The job's state now."""
        return State(self.view().state)

    def wait(self) -> JobView:
        """The job once it has ended, however; a server that restarts meanwhile is waited for."""
        return Follower(self._client, self.id).end()

    def logs(self, *, rank: int = 0, follow: bool = False) -> Iterator[str]:
        """The output line by line, one of more than 1 MiB in pieces; `follow` goes on until the job has ended."""
        client = self._client
        return lines(Follower(client, self.id).chunks(rank=rank) if follow else client().logs(self.id, rank=rank))

    def metrics(self) -> dict[str, MetricView]:
        """Every metric it logged, by name."""
        return {one.name: one for one in self._client().metrics(self.id)}

    def series(self, name: str, *, max_points: int = 1000) -> SeriesView:
        """The points of one metric."""
        return self._client().series(self.id, name, max_points=max_points)

    def cancel(self) -> JobView:
        """Ask it to stop."""
        return self._client().cancel(self.id)

    def _client(self) -> Client:
        return embedded.running(Home.from_environ() if self._environ is None else Home.from_environ(self._environ))


def submit(job: Job, *, folder: str | Path = ".", in_place: bool = False) -> Handle:
    """Hand a job in, from a copy of the tree around `folder`; a server is started if none runs.

    Raises CaptureError, PlacementError, SpecError, UnreachableError.
    """
    connect = functools.cache(lambda: embedded.ensure(Home.from_environ()))
    view = hand_in(connect, job, folder=Path(folder).resolve(), in_place=in_place)
    return Handle(view.id)
