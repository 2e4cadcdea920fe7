"""In what order do samples come? A pure function of (seed, epoch, position), the contract of every order.

A position counts samples from an epoch's begin over all ranks together. Nothing here may import torch or do I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from leyden.data.sources.base import Ints, Source


@dataclass(frozen=True, slots=True)
class Picks:
    """Samples in the order they are wanted. Shards are numbered over all sources, in the order of `Order.sources`.

    One item is usually one sample. A packed item is several pieces: item i is pieces ends[i-1]:ends[i], each the part
    spans[j] = (start, stop) of its sample.
    """

    shards: Ints  # [pieces]
    samples: Ints  # [pieces], number within the shard
    ends: Ints | None = None  # [items]; None: every piece is an item
    spans: Ints | None = None  # [pieces, 2]


class Use(NamedTuple):
    """A shard is needed from this position of this epoch on."""

    epoch: int
    position: int
    shard: int


class Order(ABC):
    """Which samples, in which order. An order can be pickled and used by several threads."""

    sources: Sequence[Source]
    # Makes one sample of the pieces of an item, in a worker: a small object that is pickled, called with a list of
    # (sample, (start, stop)). None where every item is one whole sample.
    join: Callable[[Sequence[tuple[Any, tuple[int, int]]]], Any] | None = None
    repeats: bool = True  # every epoch has the same samples

    @abstractmethod
    def length(self, epoch: int) -> int | None:
        """Items of that epoch; None: it has no end."""

    @abstractmethod
    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Items start:stop of the epoch's order."""

    @abstractmethod
    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """First uses of shards from there on, in their order, then on through the following epochs; lazily, endlessly.

        A shard comes again when it is used again in a later window or epoch: its place in this sequence is its next
        use, which is what the cache evicts by.
        """

    def ahead(self, epoch: int, position: int) -> Iterator[int]:
        """The shards of `uses`."""
        return (use.shard for use in self.uses(epoch, position))

    def fingerprint(self) -> str:
        """Changes when the order is another: state_dict keeps it."""
        return "+".join(source.fingerprint() for source in self.sources)
