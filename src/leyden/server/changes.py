"""How do requests wait for something to change without a thread each, and without asking the database over and over?

Whoever waits for one job is woken by what happens to that job, not by what happens to a thousand others: after a commit
one look at the new events, for all who wait, says whose turn it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Set
from typing import final

from sqlalchemy import Connection, func, select
from starlette.concurrency import run_in_threadpool

from leyden.jobs.tables import events

Look = Callable[[int | None], tuple[int, Set[str]]]


@final
class Changes:
    """Rung after every commit, from any thread; awaited by requests on the event loop.

    `look(after)` tells the number of the newest event and, unless `after` is None, the jobs of those above it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._jobs: dict[str, asyncio.Event] = {}
        self._seen, self._rung = 0, False
        self._task: asyncio.Task[None] | None = None
        self.closing = False
        self.commits = 0

    def attach(self, look: Look) -> None:
        """Belong to the event loop that runs now."""
        self._loop, self._look = asyncio.get_running_loop(), look
        self._seen, _ = look(None)

    def ring(self) -> None:
        """Something was committed."""
        self.commits += 1
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._next)

    def close(self) -> None:
        """The server is about to stop: everybody who waits is to return."""
        self.closing = True
        self.ring()

    @property
    def next(self) -> asyncio.Event:
        """Set at the next change. Take it before looking at the store, so that no change falls in between."""
        return self._event

    def of(self, job_id: str) -> asyncio.Event:
        """The same for the next change of that job's state."""
        return self._jobs.setdefault(job_id, asyncio.Event())

    def _next(self) -> None:
        before, self._event = self._event, asyncio.Event()
        before.set()
        self._rung = True
        if self.closing:
            self._tell(set(self._jobs))
        elif self._jobs and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._find_out())

    async def _find_out(self) -> None:
        try:
            while self._rung:
                self._rung = False
                self._seen, changed = await run_in_threadpool(self._look, self._seen)
                self._tell(changed)
        except Exception:  # the database is away for once: everybody may look, and finds out
            traceback.print_exc()
            self._tell(set(self._jobs))
        finally:
            self._task = None

    def _tell(self, changed: Set[str]) -> None:
        for job_id in changed & self._jobs.keys():
            self._jobs.pop(job_id).set()


def look(connection: Connection, *, after: int | None) -> tuple[int, Set[str]]:
    """What Changes wants to know."""
    if after is None:
        return connection.scalar(select(func.max(events.c.id))) or 0, frozenset()
    rows = connection.execute(select(events.c.id, events.c.job_id).where(events.c.id > after)).all()
    return max([after, *(row.id for row in rows)]), {row.job_id for row in rows}


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event or the timeout."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
