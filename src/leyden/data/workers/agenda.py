"""Which batches are this rank's, from a place on?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from leyden.data.plan.base import Order, Picks
from leyden.data.plan.deal import Deal
from leyden.data.workers.messages import Work

_AT_ONCE: Final = 512  # positions looked up together: a look-up costs 50 µs, however few it is for


def agenda(order: Order, deal: Deal, epoch: int, position: int) -> Iterator[Work]:
    """Batches from there on, from epoch to epoch, endlessly."""
    look = _Lookup(order, deal.batch_size * deal.size)
    while True:
        length = order.length(epoch)
        part = deal.part(length, position)
        if part is not None:
            is_last = deal.batches(length, part.after) == 0
            picks = look.up(epoch, part.start, part.stop, length)
            yield Work(epoch=epoch, start=part.start, stop=part.stop, after=part.after, is_last=is_last, picks=picks)
            position = part.after
        if part is None or is_last:
            epoch, position = epoch + 1, 0


@final
class _Lookup:
    """Keeps the picks of several batches, where each item is one sample and the ranks' batches lie close together."""

    def __init__(self, order: Order, stride: int) -> None:
        self._order = order
        self._reach = _AT_ONCE if 2 * stride <= _AT_ONCE and order.join is None else 0
        self._epoch, self._start, self._stop = -1, 0, 0
        self._kept: Picks | None = None

    def up(self, epoch: int, start: int, stop: int, length: int | None) -> Picks:
        if not self._reach:
            return self._order.picks(epoch, start, stop)
        if self._kept is None or epoch != self._epoch or not self._start <= start < stop <= self._stop:
            end = start + self._reach if length is None else min(start + self._reach, length)
            self._epoch, self._start, self._stop = epoch, start, max(end, stop)
            self._kept = self._order.picks(epoch, start, self._stop)
        here = slice(start - self._start, stop - self._start)
        return Picks(self._kept.shards[here], self._kept.samples[here])
