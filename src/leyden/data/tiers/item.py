"""What does a loader know of one file? Its name in the store, its key in the caches, and where it stands."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from leyden.data.errors import CorruptError, DataError
from leyden.data.sources.base import Source
from leyden.data.tiers.fetch import Fetcher
from leyden.data.tiers.part import TRIES, Part
from leyden.data.tiers.shelf import Shelf

COMPLAINTS = 64  # batches that had read a bad copy before it was discarded


@dataclass(slots=True, eq=False)
class Pin:
    """A whole file that is held."""

    shelf: Shelf
    path: str
    users: set[int] = field(default_factory=set)  # open tickets that read it


@final
@dataclass(slots=True, eq=False)
class Item:
    """One file of a source; several shards may lie in it."""

    source: Source
    fetcher: Fetcher
    shard: int  # number within its source, of one of its shards
    name: str
    size_bytes: int
    sha256: str | None
    packed: bool
    key: str
    pinned: Pin | None = None  # the whole file
    stale: list[Pin] = field(default_factory=list)  # copies found corrupt, which tickets still read
    part: Part | None = None  # the one that grows
    parts: list[Part] = field(default_factory=list)  # those before it that tickets still read
    download: asyncio.Task[None] | None = None
    began_s: float = 0.0  # that (monotonic)
    error: DataError | None = None
    discarded: int = 0
    complaints: int = 0
    no_room: bool = False  # for the whole, when it was last tried
    no_room_s: float = 0.0  # none for parts of it, until then (monotonic)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """For messages."""
        return f"{self.fetcher.url}/{self.name}"

    def pin(self, shelves: list[Shelf]) -> str | None:
        """The path of the whole file on this host; None if there is none."""
        if self.pinned is None:
            for shelf in shelves:
                path = shelf.pin(self.key)
                if path is not None:
                    self.pinned = Pin(shelf, path)
                    self.retire()
                    break
        return self.pinned.path if self.pinned else None

    def unpin(self) -> None:
        """Others may have it evicted, if no ticket reads it."""
        if self.pinned is not None and not self.pinned.users:
            self.pinned.shelf.unpin(self.pinned.path)
            self.pinned = None

    def discard(self, path: str, shelves: list[Shelf]) -> bool:
        """The copy at `path` is corrupt. False after the third copy: then the store's bytes are wrong too."""
        if self.pinned is not None and self.pinned.path == path:
            for shelf in shelves:
                shelf.evict(self.key)
            self.stale.append(self.pinned)
            self.pinned = None
            self.discarded += 1
        elif self.part is not None and str(self.part.path) == path:
            self.part.forget(0, self.size_bytes)
            self.discarded += 1
        else:  # a copy that is gone already, or that one ticket had
            self.complaints += 1
        return self.discarded < TRIES and self.complaints < COMPLAINTS

    @property
    def users(self) -> bool:
        """Whether an open ticket reads the whole file."""
        return self.pinned is not None and bool(self.pinned.users)

    def grow(self, shelf: Shelf | None) -> Part:
        """The part there, or a new one."""
        if self.part is None or self.part.shelf is not shelf:
            self.retire()
            self.part = Part(self.fetcher, self.name, self.size_bytes, self.key, shelf)
        return self.part

    def retire(self) -> None:
        """No more bytes for the part; it goes when no ticket reads it any more."""
        if self.part is not None:
            self.parts.append(self.part)
            self.part.retired = True
            self.part = None
        self.parts = [part for part in self.parts if part.users or part.close()]  # type: ignore[func-returns-value]

    def done(self, ticket: int) -> None:
        """The ticket reads it no more."""
        for pin in [*self.stale, *([self.pinned] if self.pinned else [])]:
            pin.users.discard(ticket)
        for pin in [pin for pin in self.stale if not pin.users]:
            pin.shelf.unpin(pin.path)
            self.stale.remove(pin)
        for part in [*self.parts, *([self.part] if self.part else [])]:
            part.users.discard(ticket)
        self.parts = [part for part in self.parts if part.users or part.close()]  # type: ignore[func-returns-value]

    def forsake(self) -> None:
        """Nobody waits any more: requests for single samples end, lest new tickets share in their failure."""
        for part in [*self.parts, *([self.part] if self.part else [])]:
            part.forsake()

    def notify(self) -> None:
        """Wake those who wait for a change."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def check(self, part: Part) -> None:
        """The whole file, against the index's checksum and what the format itself knows; unpacked if it was packed."""
        await part.check(self.sha256)
        try:
            await asyncio.to_thread(self.source.arrived, self.shard, part.path)
        except CorruptError as error:
            raise CorruptError(asked=f"{self.url} was asked for", found=error.found, do=error.do) from error

    def about(self, path: Path) -> dict[str, Any]:
        """For `leyden data cache ls`."""
        return {"root": self.fetcher.url, "name": self.name, "bytes": path.stat().st_size}


def key_of(url: str, size_bytes: int, sha256: str | None, version: str, packed: bool) -> str:
    """The name a file has in every cache: its content's where that is known."""
    made = sha256 or "v" + hashlib.sha256(f"{url}\n{size_bytes}\n{version}".encode()).hexdigest()
    return made + "-unpacked" * packed
