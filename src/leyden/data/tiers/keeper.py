"""Which shards come to this host, when, and into which tier?

A shard arrives in the fastest tier that has room for something needed that soon: free room, or room that shards hold
which are needed later (by any process of the host). What leaves a tier moves down to the next one if it is in sight
again and fits there by the same rule; nothing moves up: what a disk tier holds is read through the page cache.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, final

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.tiers.ahead import Ahead
from leyden.data.tiers.item import Item
from leyden.data.tiers.part import TRIES, Part
from leyden.data.tiers.shelf import FULL, NEVER, Shelf
from leyden.data.tiers.who import pid_of

AT_ONCE: Final = min(8, max(2, len(os.sched_getaffinity(0)) // 2))  # whole shards on their way ahead of the plan
LOOK_S: Final = 0.05  # how often to look whether another process has brought a shard
BEAT_S: Final = 1.0
SULK_S: Final = 30.0  # a shard that could not be fetched ahead is left alone for so long, unless it is asked for


@final
class Keeper:
    """Brings whole shards. On the loop's thread alone."""

    def __init__(self, shelves: list[Shelf], items: Mapping[int, Item]) -> None:
        self.shelves, self.ahead = shelves, Ahead(iter(()), 0)
        self.items = items
        self._running = 0
        self._placing = asyncio.Lock()
        self._failed: dict[Item, float] = {}
        self.warned: list[str] = []

    async def whole(self, item: Item, asked_s: float) -> None:
        """Wait until the file is pinned, or `no_room` is set. Raises what went wrong."""
        shared = item.download if item.began_s < asked_s else None  # begun for others: its failure is not ours
        while item.pin(self.shelves) is None and not item.no_room:
            if item.download is None:
                self.start(item)
            with suppress(TimeoutError):
                await asyncio.wait_for(item.changed.wait(), LOOK_S if item.download is None else None)
            if item.error is not None and not (shared and shared.done()):
                error, item.error = item.error, None
                raise error
            if shared is not None and shared.done():
                shared, item.error = None, None

    def start(self, item: Item) -> None:
        """Begin to fetch it, if nobody on this host does already."""
        other = self.fetched_by_another(item)
        if other is None and item.download is None:
            item.error, item.no_room, item.began_s = None, False, time.monotonic()
            item.download = asyncio.ensure_future(self._run(item))

    def fetched_by_another(self, item: Item) -> str | None:
        """In words, if another process that lives fetches the file."""
        for shelf in self.shelves:
            lease = shelf.leased(item.key)
            if lease is not None and lease.lives and lease.who != shelf.who:
                return f"process {pid_of(lease.who)} of this host fetches it"
        return None

    def running(self) -> int:
        """Downloads under way."""
        return self._running

    def prefetch(self, item: Item) -> bool:
        """Begin to fetch a shard that will be needed. False: there is no room for it, nor for anything later."""
        if item.download is not None or item.pinned or any(shelf.has(item.key) for shelf in self.shelves):
            return True
        if time.monotonic() - self._failed.get(item, -SULK_S) < SULK_S or self.fetched_by_another(item):
            return True
        if self._fitting(item) is None:
            return False
        self.start(item)
        return True

    async def _run(self, item: Item) -> None:
        self._running += 1
        try:
            await self._bring(item)
        except Exception as error:
            self._failed[item] = time.monotonic()
            item.error = (
                error
                if isinstance(error, DataError)
                else FetchError(
                    asked=f"{item.url} was to be kept on this host", found=repr(error), do="See to the cache's folder."
                )
            )
        finally:
            self._running -= 1
            item.download = None
            item.notify()

    async def _bring(self, item: Item) -> None:
        """Fetch, check, name. A full tier: the next one. Wrong bytes: again, a few times."""
        wrong = 0
        while True:
            shelf = await self._place(item)
            if shelf is None:
                item.no_room = True
                return
            try:
                if not shelf.lease(item.key, item.size_bytes):
                    return
                part = item.grow(shelf)
                await part.whole()
                await item.check(part)
                await asyncio.to_thread(shelf.commit, item.key, part.path, item.about(part.path))
                item.pin(self.shelves)
                return
            except CorruptError:
                wrong += 1
                item.retire()
                if wrong == TRIES:
                    raise
            except OSError as error:
                item.retire()
                if error.errno not in FULL:
                    raise
                shelf.mark_full()
            finally:
                shelf.release(item.key)

    def shelf_for(self, item: Item) -> Shelf | None:
        """The tier for parts of it, before it is whole; None: memory."""
        if item.part is not None:
            shelf = item.part.shelf
            return None if shelf is None or shelf.full else shelf
        if time.monotonic() < item.no_room_s:
            return None
        with suppress(OSError):
            fitting = self._fitting(item)
            if fitting is not None:
                return fitting[0]
        item.no_room_s = time.monotonic() + BEAT_S
        return None

    def _fitting(self, item: Item) -> tuple[Shelf, list[str]] | None:
        """The fastest tier that can take it, and what has to leave."""
        needs, distance = self.needs(), self._distance(item)
        for shelf in self.shelves:
            victims = None if shelf.full else shelf.room(item.key, item.size_bytes, distance, needs)
            if victims is not None:
                return shelf, victims
        return None

    async def _place(self, item: Item) -> Shelf | None:
        async with self._placing:
            try:
                found = self._fitting(item)
            except OSError:
                return None
            if found is None:
                return None
            for key in found[1]:
                await self._leave(found[0], key)
            return found[0]

    async def _leave(self, shelf: Shelf, key: str) -> None:
        """Out of this tier, into the next one if it is needed again and fits."""
        below = self.shelves[self.shelves.index(shelf) + 1 :]
        distance = self.needs().get(key, NEVER)
        whole = shelf.folder / "whole" / key
        if below and distance < NEVER and not below[0].full and whole.exists():
            size = whole.stat().st_size
            victims = below[0].room(key, size, distance, self.needs())
            if victims is not None and below[0].lease(key, size):
                for victim in victims:
                    await self._leave(below[0], victim)
                await self._copy(shelf, below[0], key)
        shelf.evict(key)

    async def _copy(self, shelf: Shelf, below: Shelf, key: str) -> None:
        part = below.part(key)
        try:
            await asyncio.to_thread(shutil.copyfile, shelf.folder / "whole" / key, part)
            about = json.loads((shelf.folder / "about" / key).read_text())
            await asyncio.to_thread(below.commit, key, part, about)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                below.mark_full()
        finally:
            part.unlink(missing_ok=True)
            below.release(key)

    def needs(self) -> dict[str, int]:
        """How soon we need the files we know, by key."""
        needs: dict[str, int] = {}
        for shard, item in self.items.items():
            distance = 0 if item.users else self.ahead.distance(shard)
            if distance < NEVER:
                needs[item.key] = min(distance, needs.get(item.key, NEVER))
        return needs

    def _distance(self, item: Item) -> int:
        return self.needs().get(item.key, 0)

    def beat(self) -> None:
        """Tell other processes; let go of what is not in use."""
        needs = self.needs()
        for shelf in self.shelves:
            shelf.beat(needs)
        self.rest(item for shard, item in self.items.items() if self.ahead.distance(shard))

    def rest(self, items: Iterable[Item]) -> None:
        """Files that no recent ticket asked for: others may have them evicted."""
        for item in items:
            if not item.users and item.download is None:
                item.unpin()
                if item.part is not None and not item.part.users:
                    item.retire()

    def scratch(self, item: Item) -> Part:
        """Where no tier has room: memory, for as long as tickets read it."""
        if not self.warned:
            self.warned.append(
                f"no cache tier has room for {item.url}: its samples are fetched anew each time. "
                'Give a larger or a further tier: cache=["ram:8GB", "/nvme:200GB"].'
            )
        return Part(item.fetcher, item.name, item.size_bytes, item.key, None)
