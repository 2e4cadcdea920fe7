"""Which documents share an item, if none is cut that need not be? Best fit, the longest first, within groups of shards.

A group is neighbouring shards with enough documents to choose from. How many items a group makes follows from its
lengths alone, so all epochs are equally long and an item is found by arithmetic; which of several equally long
documents goes where is drawn anew in each epoch. Best-fit decreasing needs at most 11/9 of the fewest items possible
(Johnson, Demers, Ullman, Garey and Graham, SIAM J. Comput. 3, 1974), and far less where lengths vary.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.keys import digest
from leyden.data.plan.lengths import Lengths
from leyden.data.plan.order import OneSource
from leyden.data.plan.permutation import Permutation
from leyden.data.plan.pieces import concatenate, cut, running
from leyden.data.plan.recent import Recent
from leyden.data.sources.base import Ints, Reader, Shard, Source

_GROUP: Final = 8192  # documents; with as many the items are 99 % full, see docs/explain/order.md


@final
class Fit:
    """Items of whole documents, filled up to `length` as well as can be; longer documents are cut."""

    def __init__(self, order: Order, lengths: Lengths, length: int) -> None:
        if not isinstance(order, OneSource):
            raise DataError(
                asked=f'packing with method="fit" of an order {type(order).__name__} was asked for',
                found="documents that fit are looked for in neighbouring shards of one source",
                do='Give a shuffled source and mix what is packed, Mix({name: Packed(…)}), or use method="split".',
            )
        self._lengths, self._length = lengths, length
        counts = np.diff(lengths.begins)
        self._shards = _groups(counts)
        self._packed = [self._pack(group) for group in range(len(self._shards) - 1)]
        self._order = order.over(_Groups(np.array([len(ends) for _, ends in self._packed])))
        self._words = order.fingerprint()
        self._laid: Recent[Picks] = Recent(2 * self._order.window_shards + 2)

    def tokens(self, epoch: int) -> int:
        """Tokens in the epoch."""
        return int(self._lengths.values.sum())

    def items(self, epoch: int) -> int:
        """Items of the epoch."""
        return self._order.length(epoch)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Items start:stop."""
        chosen = self._order.picks(epoch, start, stop)
        pairs = zip(chosen.shards.tolist(), chosen.samples.tolist(), strict=True)
        items = [cut(self._lay(epoch, group), item, item + 1) for group, item in pairs]
        return concatenate(items) if items else cut(self._lay(epoch, 0), 0, 0)

    def uses(self, epoch: int, item: int) -> Iterator[Use]:
        """See Order. All shards of a group are said to be used with its first item."""
        for use in self._order.uses(epoch, item):
            for shard in range(int(self._shards[use.shard]), int(self._shards[use.shard + 1])):
                yield Use(use.epoch, use.position, shard)

    def _pack(self, group: int) -> tuple[Ints, Ints]:
        """Pieces, by rank from the longest on, in the order of the group's items; where each item ends among them."""
        sizes = np.sort(self._cut(group)[2])[::-1]
        items = best_fit(sizes, self._length)
        ranks = np.argsort(items, kind="stable")
        ends = np.cumsum(np.bincount(items)) if len(items) else np.empty(0, dtype=np.int64)
        return ranks.astype(np.int32), ends

    def _cut(self, group: int) -> tuple[Ints, Ints, Ints]:
        """(document, start, size) of pieces: one a document, or more where it is longer than an item."""
        first, last = self._lengths.begins[self._shards[group : group + 2]]
        sizes = self._lengths.values[first:last]
        pieces = -(-sizes // self._length)
        documents = np.repeat(np.arange(first, last), pieces)
        starts = (np.arange(len(documents)) - np.repeat(running(pieces)[:-1], pieces)) * self._length
        return documents, starts, np.minimum(self._lengths.values[documents] - starts, self._length)

    def _lay(self, epoch: int, group: int) -> Picks:
        return self._laid.get((epoch, group), lambda: self._make(epoch, group))

    def _make(self, epoch: int, group: int) -> Picks:
        """All items of a group."""
        documents, starts, sizes = self._cut(group)
        drawn = Permutation(len(sizes), digest("fit", self._words, epoch, group))(np.arange(len(sizes)))
        ranks, ends = self._packed[group]
        index = drawn[np.argsort(-sizes[drawn], kind="stable")][ranks]
        shards = np.searchsorted(self._lengths.begins, documents[index], side="right") - 1
        samples = documents[index] - self._lengths.begins[shards]
        return Picks(shards, samples, ends, np.stack([starts, starts + sizes], axis=1)[index])


def best_fit(sizes: Ints, capacity: int) -> Ints:
    """The number of the item that each piece goes to; sizes descending, from 1 to `capacity`.

    Equal sizes are placed together: the fullest items that still take one take as many as they can.
    """
    free: list[list[int]] = [[] for _ in range(capacity + 1)]  # items by free space
    some = 0  # bit f is set where free[f] is not empty
    items = 0
    placed: list[int] = []
    values, counts = np.unique(sizes, return_counts=True)
    for size, left in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        count = left
        while count:
            above = some >> size
            space = size + (above & -above).bit_length() - 1 if above else capacity
            each = min(space // size, count)
            many = count // each
            if above:
                taken = free[space][-many:]
                del free[space][-many:]
            else:
                taken = list(range(items, items + many))
                items += many
            placed += taken if each == 1 else [item for item in taken for _ in range(each)]
            count -= each * len(taken)
            free[space - each * size] += taken
            some |= 1 << (space - each * size)
            if not free[space]:
                some &= ~(1 << space)
    return np.array(placed, dtype=np.int64)


def _groups(counts: Ints) -> Ints:
    """The first shard of each group, and the end: a group ends with the shard that makes it large enough."""
    full = running(counts) // _GROUP
    firsts = np.flatnonzero(np.diff(full[:-1], prepend=0))
    return np.unique(np.concatenate([[0], firsts, [len(counts)]]))


@final
class _Groups(Source):
    """Groups as shards whose samples are the items."""

    def __init__(self, counts: Ints) -> None:
        self._counts = counts

    @property
    def counts(self) -> Ints:
        return self._counts

    def shard(self, number: int) -> Shard:
        raise NotImplementedError("is only counted")

    def open(self, shard: int, path: Path | None) -> Reader:
        raise NotImplementedError("is only counted")
