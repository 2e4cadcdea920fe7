"""How do requests wait for something to change without a thread each, and without asking the database over and over?

Whoever waits for one job is woken by what happens to that job, not by what happens to a thousand others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import final


@final
class Changes:
    """Rung after every commit, from any thread; awaited by requests on the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._jobs: dict[str, set[asyncio.Event]] = {}
        self.closing = False
        self.commits = 0

    def attach(self) -> None:
        """Belong to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def ring(self, jobs: Iterable[str]) -> None:
        """Something was committed; these jobs' states have changed."""
        self.commits += 1
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._next, jobs)

    def close(self) -> None:
        """The server is about to stop: everybody who waits is to return."""
        self.closing = True
        self.ring(())

    @property
    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before looking at the store, so that no change falls in between."""
        return self._event

    @contextlib.contextmanager
    def of(self, job_id: str) -> Iterator[asyncio.Event]:
        """The same for the next change of that job's state."""
        event = asyncio.Event()
        waiting = self._jobs.setdefault(job_id, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting:
                self._jobs.pop(job_id, None)

    def _next(self, jobs: Iterable[str]) -> None:
        before, self._event = self._event, asyncio.Event()
        before.set()
        for job_id in list(self._jobs) if self.closing else jobs:
            for event in self._jobs.get(job_id, ()):
                event.set()


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event or the timeout."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
