"""How do requests wait for something to change without a thread each, and without asking the database over and over?"""

from __future__ import annotations

import asyncio
import contextlib
from typing import final


@final
class Changes:
    """Rung after every commit, from any thread; awaited by requests on the event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self.closing = False

    def attach(self) -> None:
        """Belong to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def ring(self) -> None:
        """Something was committed."""
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

    def _next(self) -> None:
        before, self._event = self._event, asyncio.Event()
        before.set()


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event or the timeout."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
