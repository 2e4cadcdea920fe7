"""How soon is a shard needed? The plan's order of first uses, and how far the tickets have come in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, final

from leyden.data.tiers.shelf import NEVER

LOOK: Final = 2048  # uses ahead, at most
LAPS: Final = 4  # times all shards: further ahead nothing is new
RECENT: Final = 8  # times the usual number of tickets between two uses of a shard: then its window is over
LONGEST: Final = 64  # tickets


@final
class Ahead:
    """The next uses of shards, of which there are `count`."""

    def __init__(self, shards: Iterator[int], count: int) -> None:
        self._shards, self._look = shards, min(LOOK, LAPS * count)
        self._queue: deque[int] = deque()
        self._uses: dict[int, deque[int]] = {}
        self._at = 0  # number of the queue's first use
        self._asked: dict[int, int] = {}  # shard → count of tickets when it was last asked for
        self._tickets = 0
        self._each = 1.0  # shards a ticket asks for, moving average
        self._fill()

    def upcoming(self) -> list[int]:
        """Shards, each once, the soonest needed first."""
        return list(dict.fromkeys((*self._asked, *self._queue)))

    def ask(self, shards: Iterable[int]) -> bool:
        """A ticket asks for these. Whether what is ahead has changed."""
        self._tickets += 1
        before = self._at
        shards = list(shards)
        self._each += 0.2 * (len(shards) - self._each)
        for shard in shards:
            if shard not in self._asked or (self._queue and self._queue[0] == shard):
                self._pass(shard)
            self._asked[shard] = self._tickets
        recent = min(LONGEST, RECENT * max(1.0, len(self._asked) / self._each))
        old = [shard for shard, ticket in self._asked.items() if ticket <= self._tickets - recent]
        for shard in old:
            del self._asked[shard]
        self._fill()
        return self._at != before or bool(old)

    def distance(self, shard: int) -> int:
        """0: in use; else how many first uses of shards come before its own; NEVER if none is in sight."""
        if shard in self._asked:
            return 0
        uses = self._uses.get(shard)
        return uses[0] - self._at + 1 if uses else NEVER

    def _pass(self, shard: int) -> None:
        """The order has come to this shard's next use."""
        if shard in self._uses:
            last = self._uses[shard][0]
            while self._at <= last:
                gone = self._queue.popleft()
                uses = self._uses[gone]
                uses.popleft()
                if not uses:
                    del self._uses[gone]
                self._at += 1

    def _fill(self) -> None:
        while len(self._queue) < self._look:
            shard = next(self._shards, None)
            if shard is None:
                return
            self._uses.setdefault(shard, deque()).append(self._at + len(self._queue))
            self._queue.append(shard)
