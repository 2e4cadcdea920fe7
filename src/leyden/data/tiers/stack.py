"""How is a ticket answered? From a cache if the shard is there, by ranged reads if it is not there yet.

The loader's thread only hands tickets over and takes answers; the rest happens on the loop of net.py.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Final, final

from leyden.data.errors import DataError
from leyden.data.sources.base import Ints, Records, Source
from leyden.data.tiers import net
from leyden.data.tiers.base import Local, Tiers
from leyden.data.tiers.here import Files
from leyden.data.tiers.item import Item
from leyden.data.tiers.keeper import LOOK_S, Keeper
from leyden.data.tiers.known import Known
from leyden.data.tiers.ledger import remember
from leyden.data.tiers.part import Part
from leyden.data.tiers.prefetch import Prefetch
from leyden.data.tiers.shelf import FULL, Shelf
from leyden.data.tiers.spec import Place
from leyden.data.tiers.store import UnrangedError

URGENT: Final = 24  # oldest open tickets whose samples are read by ranges while their shards are on their way
Answer = dict[int, Local] | DataError


@dataclass(slots=True, eq=False)
class Ticket:
    """A batch that is asked for."""

    number: int
    wanted: Mapping[int, Ints]
    asked_s: float = field(default_factory=time.monotonic)
    turn: asyncio.Event = field(default_factory=asyncio.Event)  # one of the oldest now
    waits: dict[int, str] = field(default_factory=dict)  # shard → for what
    items: list[Item] = field(default_factory=list)
    scratch: list[Part] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    answered: bool = False


@final
class Stack(Tiers):
    """Object store → caches → workers."""

    def __init__(
        self, sources: Sequence[Source], places: Sequence[Place], *, timeout_s: float,
        storage_options: Mapping[str, str] | None, cache_local: bool,
    ) -> None:  # fmt: skip
        self._loop = net.loop()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()  # of the three below
        self._answers: deque[tuple[int, Answer]] = deque()
        self._generation = 0
        self._closed = False
        self._open: dict[int, Ticket] = {}
        self._files = Files()
        self._known = Known(sources, timeout_s, storage_options, cache_local)
        self._keeper = Keeper([Shelf(place) for place in places], self._known.items)
        self._known.shelves, self._known.bring = self._keeper.shelves, self._keeper.whole
        for place in places:
            remember(place.folder)
        self._prefetch = Prefetch(self._keeper, self._known, self._is_waited_for)
        self._tasks = [
            asyncio.run_coroutine_threadsafe(work(), self._loop) for work in (self._prefetch.run, self._prefetch.beat)
        ]
        _living.add(self)
        _close_at_exit(os.getpid())

    # --- the loader's thread

    def follow(self, shards: Iterator[int]) -> None:
        """The iterator is read on the loop's thread."""
        self._loop.call_soon_threadsafe(self._follow, shards)

    def ask(self, ticket: int, wanted: Mapping[int, Ints]) -> None:
        """Handed to the loop."""
        self._loop.call_soon_threadsafe(self._begin, Ticket(ticket, dict(wanted)), self._generation)

    def answers(self) -> list[tuple[int, Answer]]:
        """Also warns, once, if there is no room in any cache."""
        while self._keeper.warned and self._keeper.warned[-1]:
            text = self._keeper.warned[-1]
            self._keeper.warned.append("")
            warnings.warn(text, stacklevel=2)
        with self._lock:
            found = list(self._answers)
            self._answers.clear()
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        return found

    def done(self, ticket: int) -> None:
        """Handed to the loop."""
        self._loop.call_soon_threadsafe(self._done, ticket)

    def drop(self) -> None:
        """Nothing asked before is answered after."""
        with self._lock:
            self._generation += 1
            self._answers.clear()
        self._loop.call_soon_threadsafe(self._drop)

    def discard(self, shard: int, path: str) -> bool:
        """False after the third copy: then the store's bytes are wrong too."""
        return net.wait_for(self._discard(shard, path))

    def fileno(self) -> int:
        """An eventfd."""
        return self._bell

    def why(self) -> str:
        """From the loop's notes."""
        with suppress(RuntimeError):  # the loop's thread changed them meanwhile: the next look will do
            for ticket in sorted(self._open.values(), key=lambda ticket: ticket.number):
                if not ticket.answered:
                    return self._why(ticket)
        return ""

    def _why(self, ticket: Ticket) -> str:
        for shard in list(ticket.waits):
            item = self._known.ready.get(shard)
            if tried := item.fetcher.why(item.name) if item else self._known.trying():
                return tried
        return next(iter(ticket.waits.values()), "")

    def close(self) -> None:
        """Waits until all is let go, 5 s at most."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        _living.discard(self)
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        if not net.is_here():  # the garbage collector may close a forgotten loader on any thread, also on the loop's
            concurrent.futures.wait([ending], timeout=5)

    # --- the loop's thread

    def _follow(self, shards: Iterator[int]) -> None:
        self._prefetch.follow(shards)

    def _begin(self, ticket: Ticket, generation: int) -> None:
        if generation != self._generation or self._closed:
            return
        self._open[ticket.number] = ticket
        if self._keeper.ahead.ask(ticket.wanted):
            self._prefetch.wake.set()
        quick = self._quick(ticket)
        if quick is not None:
            self._answer(ticket, quick)
            return
        self._prefetch.wake.set()
        ticket.task = asyncio.ensure_future(self._serve(ticket))
        self._turns()

    def _quick(self, ticket: Ticket) -> Answer | None:
        """All shards are known and whole: no task is needed."""
        found: dict[int, Local] = {}
        try:
            for shard, samples in ticket.wanted.items():
                item = self._known.ready.get(shard)
                local = self._pinned(ticket, item, shard, samples) if item else self._plain(shard, samples)
                if local is None:
                    return None
                found[shard] = local
        except DataError as error:
            return error
        except Exception as error:
            return _bug(error)
        return found

    def _plain(self, shard: int, samples: Ints) -> Local | None:
        source, number = self._known.numbers[shard]
        if self._known.cached(source):
            return None
        return self._files.local(source, number, samples)

    def _pinned(self, ticket: Ticket, item: Item, shard: int, samples: Ints) -> Local | None:
        path = item.pin(self._keeper.shelves)
        if path is None:
            return None
        assert item.pinned is not None
        item.pinned.users.add(ticket.number)
        ticket.items.append(item)
        source, number = self._known.numbers[shard]
        return Local(path, source.locate(number, samples))

    async def _serve(self, ticket: Ticket) -> None:
        """Answer it; the first error ends the rest."""
        tasks = {shard: asyncio.ensure_future(self._wait(ticket, shard)) for shard in ticket.wanted}
        try:
            found = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
            self._answer(ticket, found)
        except DataError as error:
            self._answer(ticket, error)
        except asyncio.CancelledError as error:
            if (me := asyncio.current_task()) is None or me.cancelling():
                raise
            self._answer(ticket, _bug(error))  # something it waited for was cancelled, not the ticket
        except Exception as error:
            self._answer(ticket, _bug(error))
        finally:
            for task in tasks.values():
                task.cancel()

    async def _wait(self, ticket: Ticket, shard: int) -> Local:
        try:
            return await self._local(ticket, shard)
        finally:
            ticket.waits.pop(shard, None)

    async def _local(self, ticket: Ticket, shard: int) -> Local:
        samples = ticket.wanted[shard]
        if (plain := self._plain(shard, samples)) is not None:
            return plain
        source, number = self._known.numbers[shard]
        ticket.waits[shard] = f"{source.root}/{source.shard(number).name}: its index is fetched"
        item = await self._known.item(shard, ticket.asked_s)
        while True:
            if (local := self._pinned(ticket, item, shard, samples)) is not None:
                return local
            ticket.waits[shard] = f"{item.url}: {self._keeper.fetched_by_another(item) or 'it is fetched'}"
            records = None if item.packed or not item.fetcher.ranged else source.locate(number, samples)
            if records is None:
                await self._keeper.whole(item, ticket.asked_s)
                if item.no_room and not item.pinned:
                    return await self._scratch_whole(ticket, item, source, number, samples)
            elif ticket.turn.is_set():
                with suppress(UnrangedError):
                    return await self._ranges(ticket, item, records)
            else:
                await _first(ticket.turn.wait(), item.changed.wait(), asyncio.sleep(LOOK_S))

    async def _ranges(self, ticket: Ticket, item: Item, records: Records) -> Local:
        """Just these samples, into the file's part in the fastest tier that is not full, else into memory."""
        shelf = self._keeper.shelf_for(item)
        while True:
            try:
                part = item.grow(shelf) if shelf else self._keeper.scratch(item)
                if shelf is None:
                    ticket.scratch.append(part)
                part.users.add(ticket.number)
                ticket.items.append(item)
                await part.samples(records)
                return Local(str(part.path), records)
            except OSError as error:
                if shelf is None or error.errno not in FULL:
                    raise
                shelf.mark_full()
                shelf = None

    async def _scratch_whole(self, ticket: Ticket, item: Item, source: Source, number: int, samples: Ints) -> Local:
        if item.packed:
            raise DataError(
                asked=f"{item.url} was asked for",
                found="it must be unpacked, and no cache tier has room for it",
                do='Give a larger one: cache=["/nvme:200GB"].',
            )
        part = next((part for part in item.parts if part.shelf is None and not part.retired), None)
        if part is None:
            part = self._keeper.scratch(item)
            item.parts.append(part)
        part.users.add(ticket.number)
        ticket.items.append(item)
        await part.whole()
        await item.check(part)
        return Local(str(part.path), source.locate(number, samples))

    def _answer(self, ticket: Ticket, answer: Answer) -> None:
        ticket.answered = True
        self._prefetch.answered()
        with self._lock:
            if self._open.get(ticket.number) is ticket and not self._closed:
                self._answers.append((ticket.number, answer))
                os.eventfd_write(self._bell, 1)
        self._turns()

    def _turns(self) -> None:
        waiting = sorted(number for number, ticket in self._open.items() if not ticket.answered)
        for number in waiting[:URGENT]:
            self._open[number].turn.set()

    def _done(self, number: int) -> None:
        ticket = self._open.pop(number, None)
        if ticket is None:
            return
        if ticket.task is not None and not ticket.answered:
            ticket.task.cancel()
        for item in ticket.items:
            item.done(number)
        for part in ticket.scratch:
            part.close()
        self._turns()

    def _drop(self) -> None:
        for number in list(self._open):
            self._done(number)
        for item in self._known.items.values():
            item.forsake()

    async def _discard(self, shard: int, path: str) -> bool:
        if not self._cached(shard):
            self._files.forget(*self._known.numbers[shard])
            return False
        return (await self._known.item(shard)).discard(path, self._keeper.shelves)

    def _is_waited_for(self) -> bool:
        return any(not ticket.answered for ticket in self._open.values())

    def _cached(self, shard: int) -> bool:
        return self._known.cached(self._known.numbers[shard][0])

    async def _end(self) -> None:
        self._drop()
        for future in self._tasks:
            future.cancel()
        downloads = {item.download for item in self._known.items.values() if item.download is not None}
        for task in downloads:
            task.cancel()
        if downloads:
            await asyncio.wait(downloads, timeout=3)
        for item in self._known.items.values():
            item.retire()
            for part in item.parts:
                part.close()
        for shelf in self._keeper.shelves:
            shelf.close()
        os.close(self._bell)
        self._bell = -1


_living: weakref.WeakSet[Stack] = weakref.WeakSet()


@cache
def _close_at_exit(pid: int) -> None:
    def close() -> None:
        if pid == os.getpid():
            for stack in list(_living):
                stack.close()

    atexit.register(close)  # after net.loop() has registered its end: this runs before that


async def _first(*work: object) -> None:
    tasks = {asyncio.ensure_future(each) for each in work}  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _bug(error: BaseException) -> DataError:
    return DataError(asked="a batch was asked for", found=f"{type(error).__name__}: {error}", do="Report this.")
