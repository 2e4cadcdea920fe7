"""How do samples of similar length come together, so that a padded batch is little but data?

Within a window of so many positions of another order, samples are sorted by length (equal ones in random order), cut
into groups of neighbours, and the groups put into random order. As groups do not depend on ranks or batch size, the
order does not either; a batch that divides the group lies within one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.keys import digest
from leyden.data.plan.lengths import Lengths
from leyden.data.plan.order import check_order, check_range
from leyden.data.plan.permutation import Permutation
from leyden.data.plan.pieces import arrange, concatenate, cut
from leyden.data.plan.recent import Recent
from leyden.data.sources.base import Ints


@final
class Bucketed(Order):
    """`order` with samples of similar length side by side.

    `lengths` names a field whose lengths the sources keep, or is an array with the length of each sample as stored.
    `group`: samples sorted side by side; a multiple of the global batch. `window`: samples sorted at once; wider means
    closer lengths and more memory. Raises DataError where lengths are not known.
    """

    def __init__(
        self, order: Order, lengths: str | Ints, *, window: int = 8192, group: int = 256, seed: int = 0
    ) -> None:
        check_order(order)
        if order.join is not None or not 1 <= group <= window:
            raise DataError(
                asked=f"buckets of {group} samples by length within windows of {window} were asked for",
                found="a group is part of a window" if order.join is None else "packed items are all equally long",
                do="Give 1 <= group <= window." if order.join is None else "Leave one of Packed and Bucketed out.",
            )
        self.sources, self.repeats = order.sources, order.repeats
        self._order, self._lengths = order, Lengths(order.sources, lengths)
        self._window, self._group, self._seed = window, group, seed
        self._kept: Recent[Picks] = Recent(3)

    def length(self, epoch: int) -> int | None:
        """That of the order beneath."""
        return self._order.length(epoch)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Samples start:stop."""
        check_range(start, stop, self.length(epoch))
        found = []
        while start < stop:
            number, offset = divmod(start, self._window)
            end = min(stop, (number + 1) * self._window)
            found.append(cut(self._sorted(epoch, number), offset, offset + end - start))
            start = end
        return concatenate(found)

    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """See Order. A shard that the current window uses comes again with the next one, if that uses it too."""
        length = self.length(epoch)
        if position % self._window and (length is None or position < length):
            yield from self._first_uses(epoch, position, None)
            position = (position // self._window + 1) * self._window
        below = self._order.uses(epoch, position if length is None else min(position, length))
        for (at, number), uses in groupby(below, key=lambda use: (use.epoch, use.position // self._window)):
            yield from self._first_uses(at, number * self._window, {use.shard for use in uses})

    def fingerprint(self) -> str:
        """See Order."""
        words = f"{self._lengths.name}, {self._window}, {self._group}, {self._seed}"
        return f"Bucketed({self._order.fingerprint()}, {words})"

    def _first_uses(self, epoch: int, position: int, among: set[int] | None) -> list[Use]:
        number, offset = divmod(position, self._window)
        shards, first = np.unique(self._sorted(epoch, number).shards[offset:], return_index=True)
        found = [Use(epoch, position + int(at), int(shard)) for shard, at in zip(shards, first, strict=True)]
        return sorted(use for use in found if among is None or use.shard in among)

    def _sorted(self, epoch: int, number: int) -> Picks:
        return self._kept.get((epoch, number), lambda: self._sort(epoch, number))

    def _sort(self, epoch: int, number: int) -> Picks:
        length, start = self.length(epoch), number * self._window
        picks = self._order.picks(
            epoch, start, min(start + self._window, start + self._window if length is None else length)
        )
        count, words = len(picks.shards), (self._seed, epoch, number)
        drawn = Permutation(count, digest("ties", *words))(np.arange(count))
        index = drawn[np.argsort(self._lengths.of(picks)[drawn], kind="stable")]
        groups = count // self._group
        whole = index[: groups * self._group].reshape(groups, self._group)
        placed = whole[Permutation(groups, digest("groups", *words))(np.arange(groups))]
        return arrange(picks, np.concatenate([placed.ravel(), index[groups * self._group :]]))
