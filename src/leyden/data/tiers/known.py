"""Which file does a shard lie in, and where in it are its samples? Learned once, over the network, for many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from leyden.data.errors import DataError
from leyden.data.sources.base import Source
from leyden.data.tiers import net
from leyden.data.tiers.bucket import get_range
from leyden.data.tiers.fetch import Fetcher
from leyden.data.tiers.here import Numbers, any_packed, check_name, local_folder, read_small
from leyden.data.tiers.item import Item, key_of
from leyden.data.tiers.shelf import Shelf
from leyden.data.tiers.store import UnrangedError, open_store

PREPARING: Final = 16  # shards at once; each waits for a small file


@final
class Known:
    """Items of shards. On the loop's thread alone."""

    def __init__(
        self, sources: Sequence[Source], timeout_s: float, options: Mapping[str, str] | None, cache_local: bool
    ) -> None:
        self.numbers = Numbers(sources)
        self.items: dict[int, Item] = {}  # identified
        self.ready: dict[int, Item] = {}  # and prepared
        self._timeout_s, self._options, self._cache_local = timeout_s, options, cache_local
        self._cached: dict[int, bool] = {}  # by id of source
        self._fetchers: dict[str, Fetcher] = {}
        self._tasks: dict[int, asyncio.Task[Item]] = {}
        self._began: dict[int, float] = {}  # those (monotonic)
        self._files: dict[tuple[int, str], asyncio.Task[Item]] = {}
        self.shelves: list[Shelf] = []
        self.bring: Callable[[Item, float], Awaitable[None]] = _cannot
        self._preparing = asyncio.Semaphore(PREPARING)

    async def item(self, shard: int, asked_s: float = 0.0) -> Item:
        """The file of a shard, which is prepared then. Raises DataError; asked again it tries again."""
        if self._began.get(shard, asked_s) < asked_s:  # for others: its failure is not ours
            with suppress(DataError):
                return await asyncio.shield(self._tasks[shard])
        if shard in self.ready:
            return self.ready[shard]
        if shard not in self._tasks:
            task = self._tasks[shard] = asyncio.ensure_future(self._learn(shard))
            self._began[shard] = time.monotonic()
            task.add_done_callback(lambda task: self._learned(shard, task))
        return await asyncio.shield(self._tasks[shard])

    async def identify(self, shard: int) -> Item:
        """The file of a shard, prepared or not. Raises DataError."""
        if shard not in self.items:
            source, number = self.numbers[shard]
            file = (id(source), check_name(source.root, source.shard(number).name))
            if file not in self._files:
                task = self._files[file] = asyncio.ensure_future(self._identify(source, number))
                task.add_done_callback(lambda task: self._files.pop(file, None) if _failed(task) else None)
            self.items[shard] = await asyncio.shield(self._files[file])
        return self.items[shard]

    def cached(self, source: Source) -> bool:
        """Whether a source's files go through the caches."""
        known = self._cached.get(id(source))
        if known is None:
            known = bool(source.root) and (local_folder(source.root) is None or self._cache_local or any_packed(source))
            self._cached[id(source)] = known
        return known

    def trying(self) -> str:
        """What is being asked for in vain, in words."""
        return next((words for fetcher in self._fetchers.values() if (words := fetcher.why())), "")

    async def _learn(self, shard: int) -> Item:
        item = await self.identify(shard)
        await self._prepare(item, *self.numbers[shard])
        return item

    async def _identify(self, source: Source, number: int) -> Item:
        shard, fetcher = source.shard(number), self.fetcher(source)
        size, version = shard.size_bytes, ""
        if size < 0 or shard.sha256 is None:
            found, version = await fetcher.stat(shard.name)
            size = found if size < 0 else size
        key = key_of(f"{fetcher.url}/{shard.name}", size, shard.sha256, version, shard.packed)
        return Item(source, fetcher, number, shard.name, size, shard.sha256, shard.packed, key)

    async def _prepare(self, item: Item, source: Source, number: int) -> None:
        def fetch(name: str, start: int = 0, stop: int | None = None) -> bytes:
            return net.wait_for(self._fetch(item, check_name(source.root, name), start, stop))

        async with self._preparing:
            await net.in_thread(source.prepare, number, fetch)

    async def _fetch(self, item: Item, name: str, start: int, stop: int | None) -> bytes:
        """From the store; of the shard's own file from this host's copy, which is made first if there are no ranges."""
        if name == item.name and not item.packed:
            path = item.pin(self.shelves)
            if path is None and item.fetcher.ranged:
                with suppress(UnrangedError):
                    return await get_range(item.fetcher, name, start, stop)
            if path is None:
                await self.bring(item, time.monotonic())
                path = item.pin(self.shelves)
            if path is not None:
                return await asyncio.to_thread(read_small, Path(path), start, stop)
        with suppress(UnrangedError):
            return await get_range(item.fetcher, name, start, stop)
        return b"".join((await item.fetcher.read(name, 0, None)).chunks)[start:stop]

    def fetcher(self, source: Source) -> Fetcher:
        """One a root."""
        if source.root not in self._fetchers:
            options = source.storage_options or self._options
            store = open_store(source.root, self._timeout_s, options)
            self._fetchers[source.root] = Fetcher(source.root, store, timeout_s=0.9 * self._timeout_s)
        return self._fetchers[source.root]

    def _learned(self, shard: int, task: asyncio.Task[Item]) -> None:
        del self._tasks[shard], self._began[shard]
        if not _failed(task):
            self.ready[shard] = task.result()


async def _cannot(item: Item, asked_s: float) -> None:
    raise NotImplementedError


def _failed(task: asyncio.Task[Item]) -> bool:
    return task.cancelled() or task.exception() is not None
