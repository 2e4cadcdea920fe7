"""When is a client told of a job's states? As the event stream has them, not as they are dated."""

from __future__ import annotations

import threading
import time
from typing import final

from benchmarks.control.common import DEADLINE_S

from leyden.client.api import Client
from leyden.core.errors import UnreachableError


@final
class Told(threading.Thread):
    """Follows the events of one server from now on, until it stops."""

    def __init__(self, client: Client) -> None:
        super().__init__(name="told", daemon=True)
        self._client = client
        self._times: dict[tuple[str, str], float] = {}
        self._counts: dict[str, int] = {}
        self._change = threading.Condition()
        newest = 0
        while some := client.events(after=newest, limit=10_000):
            newest = some[-1]["id"]
        self._after = newest
        self.start()

    def run(self) -> None:
        """Until the server has gone."""
        while True:
            try:
                for event in self._client.watch(after=self._after):
                    self._note(event["job_id"], event["after"], time.time())
                    self._after = event["id"]
            except UnreachableError:
                try:
                    self._client.health()
                except UnreachableError:
                    return

    def at(self, job: str, state: str) -> float:
        """The time, waited for."""
        with self._change:
            assert self._change.wait_for(lambda: (job, state) in self._times, DEADLINE_S), f"{job} was never {state}"
            return self._times[job, state]

    def count(self, state: str) -> int:
        """How many times a job came to that state."""
        with self._change:
            return self._counts.get(state, 0)

    def reached(self, state: str, count: int) -> None:
        """Wait until it is so many times."""
        with self._change:
            assert self._change.wait_for(lambda: self._counts.get(state, 0) >= count, 5 * DEADLINE_S)

    def _note(self, job: str, state: str, at: float) -> None:
        with self._change:
            self._times.setdefault((job, state), at)
            self._counts[state] = self._counts.get(state, 0) + 1
            self._change.notify_all()
