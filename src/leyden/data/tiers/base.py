"""How do a shard's bytes come to this host? The contract between the loader and everything that fetches or caches.

The loader asks with a ticket per batch and goes on; when the bytes can be read, the ticket is answered. Nothing here
may import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leyden.data.errors import DataError
from leyden.data.sources.base import Ints, Records


@dataclass(frozen=True, slots=True)
class Local:
    """A shard's file on this host. The bytes that `records` name are there; without records the whole file is.

    The path can be opened until the ticket is `done`; a reader that has it open may keep it (an evicted file is
    unlinked, never changed). A file that is still growing has another path than the finished one. Paths under /proc/
    are one ticket's alone: no reader of them may be kept. The path is "" where the source has no root.
    """

    path: str
    records: Records | None  # of the samples asked for, in their order


class Tiers(ABC):
    """Object store → shared file system → local disk → RAM. One per process; used by the loader's thread alone."""

    @abstractmethod
    def follow(self, shards: Iterator[int]) -> None:
        """From now on fetch ahead in this order (`Order.ahead`), as far as quotas go; replaces the former one."""

    @abstractmethod
    def ask(self, ticket: int, wanted: Mapping[int, Ints]) -> None:
        """Make these samples of these shards readable. Never blocks. Lower tickets are served first, if all cannot be.

        `Source.prepare` is called before, for each shard once, from threads (for different shards at the same time).
        """

    @abstractmethod
    def answers(self) -> list[tuple[int, dict[int, Local] | DataError]]:
        """Tickets answered since the last call. Never blocks."""

    @abstractmethod
    def done(self, ticket: int) -> None:
        """The batch has been read; its bytes may go."""

    @abstractmethod
    def drop(self) -> None:
        """Forget all open tickets: the order has changed."""

    @abstractmethod
    def discard(self, shard: int, path: str) -> bool:
        """A reader found this shard's bytes at `path` corrupt: forget that copy. Whether asking again can help.

        Other open tickets may go on reading it, and may find the same.
        """

    @abstractmethod
    def fileno(self) -> int:
        """Readable (select) while `answers` has something."""

    @abstractmethod
    def why(self) -> str:
        """What the oldest open ticket waits for, in words with object and cause; "" if nothing."""

    @abstractmethod
    def close(self) -> None:
        """End threads, leases and downloads that nobody else needs."""
