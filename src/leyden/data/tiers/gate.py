"""How many requests at once? More while the store answers, half as many when it says 503 (AIMD, RFC 5681's idea)."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

START: Final = 16
MOST: Final = 64


@final
class Gate:
    """Lets requests in, urgent ones first, then in the order of coming."""

    def __init__(self) -> None:
        self.limit = float(START)
        self.inside = 0
        self._queue: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._number = 0
        self._slowed_s = 0.0

    @asynccontextmanager
    async def slot(self, urgent: bool) -> AsyncIterator[None]:
        """Hold one of the places."""
        if self.inside >= int(self.limit) or self._queue:
            self._number += 1
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._queue, (not urgent, self._number, turn))
            self._admit()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        else:
            self.inside += 1
        try:
            yield
        finally:
            self._leave()

    def well(self) -> None:
        """A request succeeded: one place more after as many successes as there are places."""
        self.limit = min(MOST, self.limit + 1 / self.limit)

    def slow_down(self, began_s: float) -> None:
        """The store is overloaded. Answers to requests from before the last halving count as the same cry for help."""
        if began_s > self._slowed_s:
            self._slowed_s = time.monotonic()
            self.limit = max(2.0, self.limit / 2)

    def _leave(self) -> None:
        self.inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self.inside < int(self.limit):
            turn = heapq.heappop(self._queue)[2]
            if not turn.done():
                turn.set_result(None)
                self.inside += 1
