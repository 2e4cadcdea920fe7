"""What is fetched before anybody asks? A few whole shards at a time, the soonest needed first, while there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import final

from leyden.data.errors import DataError
from leyden.data.tiers.ahead import Ahead
from leyden.data.tiers.keeper import AT_ONCE, BEAT_S, Keeper
from leyden.data.tiers.known import PREPARING, Known


@final
class Prefetch:
    """Follows the plan. On the loop's thread alone."""

    def __init__(self, keeper: Keeper, known: Known, is_waited_for: Callable[[], bool]) -> None:
        self.wake = asyncio.Event()  # something has changed
        self._keeper, self._known, self._is_waited_for = keeper, known, is_waited_for
        self._begun = False  # whether the first ticket since `follow` is answered

    def follow(self, shards: Iterator[int]) -> None:
        """From now on in this order."""
        self._keeper.ahead = Ahead(shards, len(self._known.numbers))
        self._begun = False
        self.wake.set()

    def answered(self) -> None:
        """A ticket was."""
        if not self._begun:
            self._begun = True
            self.wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.wake.clear()
            with suppress(OSError):  # a tier's folder is gone or full: tickets find out and say so
                await self._start()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), BEAT_S)
                await asyncio.sleep(0.01)  # tickets that come right after `follow` go first

    async def beat(self) -> None:
        """Until it is cancelled: other processes see that this one lives, and what it needs."""
        while True:
            await asyncio.sleep(BEAT_S)
            with suppress(OSError):
                self._keeper.beat()

    async def _start(self) -> None:
        upcoming = self._keeper.ahead.upcoming() if self._keeper.shelves else []
        self._prepare(upcoming[:PREPARING])
        if not self._begun and self._is_waited_for():
            return  # nothing before what the first batch waits for
        for shard in upcoming:
            if self._keeper.running() >= AT_ONCE:
                return
            if not self._known.cached(self._known.numbers[shard][0]):
                continue
            try:
                item = await self._known.identify(shard)
            except DataError:  # whoever asks for it gets this error
                continue
            if not self._keeper.prefetch(item):
                return
            if item.download is not None:
                item.download.add_done_callback(lambda _: self.wake.set())

    def _prepare(self, shards: Sequence[int]) -> None:
        for shard in shards:
            if shard not in self._known.ready and self._known.cached(self._known.numbers[shard][0]):
                task = asyncio.ensure_future(self._known.item(shard))
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
