"""Where is token number t, if the documents of an order stand one after the other?

Known block by block: the windows of a shuffled source, whose sums follow from those of its shards, or so many positions
of any other order, whose sums take one pass over an epoch's lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.lengths import Lengths
from leyden.data.plan.order import OneSource
from leyden.data.plan.pieces import concatenate, running
from leyden.data.plan.recent import Recent
from leyden.data.sources.base import Ints

_BLOCK: Final = 8192


@dataclass(frozen=True, slots=True)
class _Edges:
    """Where blocks begin; the last entry is where the epoch ends."""

    positions: Ints
    tokens: Ints


@dataclass(frozen=True, slots=True)
class _Block:
    """Documents one after the other; `begins` counts tokens from the epoch's begin."""

    picks: Picks
    begins: Ints  # [documents + 1]


@final
class Split:
    """Documents in a row, cut every `length` tokens: the last item of an epoch may be shorter, no token is lost."""

    def __init__(self, order: Order, lengths: Lengths, length: int) -> None:
        if order.length(0) is None:
            raise DataError(
                asked="packing of an order without an end was asked for",
                found="where an item begins follows from all documents of the epoch before it",
                do="Give the mixture an epoch_size, or mix packed streams: Mix({name: Packed(…)}).",
            )
        self._order, self._lengths, self._length = order, lengths, length
        self._epochs: Recent[_Edges] = Recent(3)
        self._blocks: Recent[_Block] = Recent(4)

    def tokens(self, epoch: int) -> int:
        """Tokens in the epoch."""
        return int(self._edges(epoch).tokens[-1])

    def items(self, epoch: int) -> int:
        """Items of the epoch."""
        return -(-self.tokens(epoch) // self._length)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Items start:stop."""
        edges = self._edges(epoch)
        at, end = start * self._length, min(stop * self._length, int(edges.tokens[-1]))
        found, begins = [], [np.empty(0, dtype=np.int64)]
        while at < end:
            number = int(np.searchsorted(edges.tokens, at, side="right")) - 1
            until = min(end, int(edges.tokens[number + 1]))
            cuts, pieces = self._pieces(self._block(epoch, number), at, until)
            found.append(pieces)
            begins.append(cuts)
            at = until
        ends = np.searchsorted(np.concatenate(begins), np.arange(start + 1, stop + 1) * self._length)
        whole = concatenate(found)
        return Picks(whole.shards, whole.samples, ends, whole.spans)

    def uses(self, epoch: int, item: int) -> Iterator[Use]:
        """See Order."""
        edges = self._edges(epoch)
        token = min(item * self._length, int(edges.tokens[-1]))
        document = int(edges.positions[-1])
        if token < edges.tokens[-1]:
            number = int(np.searchsorted(edges.tokens, token, side="right")) - 1
            begins = self._block(epoch, number).begins
            document = int(edges.positions[number] + np.searchsorted(begins, token, side="right")) - 1
        for use in self._order.uses(epoch, document):
            first = item if use.epoch == epoch else 0
            yield Use(use.epoch, max(self._begin(use.epoch, use.position) // self._length, first), use.shard)

    def _pieces(self, block: _Block, at: int, until: int) -> tuple[Ints, Picks]:
        """Tokens at:until of a block, cut where documents and items begin: where, and the pieces, each an item."""
        first, last = np.searchsorted(block.begins, [at, until])
        items = np.arange(at // self._length + 1, -(-until // self._length)) * self._length
        cuts = np.unique(np.concatenate([[at], block.begins[first:last], items]))
        documents = np.searchsorted(block.begins, cuts, side="right") - 1
        spans = np.stack([cuts, np.append(cuts[1:], until)], axis=1) - block.begins[documents, None]
        picks = block.picks
        return cuts, Picks(picks.shards[documents], picks.samples[documents], np.arange(1, len(cuts) + 1), spans)

    def _begin(self, epoch: int, document: int) -> int:
        """The number of a document's first token."""
        edges = self._edges(epoch)
        number = int(np.searchsorted(edges.positions, document, side="right")) - 1
        return int(self._block(epoch, number).begins[document - edges.positions[number]])

    def _edges(self, epoch: int) -> _Edges:
        return self._epochs.get(epoch, lambda: self._make_edges(epoch))

    def _make_edges(self, epoch: int) -> _Edges:
        if isinstance(self._order, OneSource):
            return _Edges(*self._order.edges(epoch, self._lengths.by_shard()))
        documents = self._order.length(epoch)
        assert documents is not None, "was checked"
        positions = np.append(np.arange(0, documents, _BLOCK), documents)
        sums = [
            int(self._lengths.of(self._order.picks(epoch, start, stop)).sum())
            for start, stop in pairwise(positions.tolist())
        ]
        return _Edges(positions, running(sums))

    def _block(self, epoch: int, number: int) -> _Block:
        return self._blocks.get((epoch, number), lambda: self._make_block(epoch, number))

    def _make_block(self, epoch: int, number: int) -> _Block:
        edges = self._edges(epoch)
        picks = self._order.picks(epoch, int(edges.positions[number]), int(edges.positions[number + 1]))
        return _Block(picks, running(self._lengths.of(picks)) + edges.tokens[number])
