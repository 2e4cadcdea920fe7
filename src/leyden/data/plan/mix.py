"""How are several streams mixed by weight, and the weights changed on the way, at any position in no time?

Positions are taken in blocks. `Shares` says how many items of each stream come before a block, so the block's items
are known, and a keyed permutation of the block says which place each gets. Every stream goes through its own epochs
on its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Final, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.keys import digest
from leyden.data.plan.order import WINDOW_SHARDS, Shuffled, check_range
from leyden.data.plan.permutation import Permutation
from leyden.data.plan.pieces import arrange, concatenate, cut
from leyden.data.plan.recent import Recent
from leyden.data.plan.shares import FOREVER, Schedule, Shares, Weights
from leyden.data.sources.base import Source

BLOCK: Final = 1024  # shares are exact to an item a stream at each multiple of it


@final
class Mix(Order):
    """Streams mixed by weight: sources (shuffled here), addresses of data sets, or orders (as they are).

    `weights` go by items: Mix({"web": "s3://…", "code": source}, weights={"web": 3, "code": 1}). A curriculum is a list
    of stages, [(0, {"web": 3, "code": 1}), (1_000_000, {"code": 1})]: each pair says from which position on (items over
    all ranks, that is steps times the global batch, counted through all epochs) which weights hold. `epoch_size` items
    make an epoch; without it there is one that never ends. A stream that ends begins its next epoch, whatever the
    others do. Raises DataError where names, weights or streams do not fit.
    """

    repeats = False

    def __init__(
        self,
        streams: Mapping[str, Source | Order | str],
        *,
        weights: Weights | Schedule,
        epoch_size: int | None = None,
        seed: int = 0,
        window_shards: int = WINDOW_SHARDS,
    ) -> None:
        if epoch_size is not None and epoch_size < 1:
            raise _refused(f"an epoch of {epoch_size} items", "it has at least one", "Give epoch_size >= 1 or None.")
        self._shares = Shares(list(streams), weights)
        self._streams: list[_Stream] = []
        shards = 0
        for name, data in streams.items():
            order = _order(name, data, seed, window_shards)
            self._streams.append(_Stream(name, order, shards))
            shards += sum(len(source.counts) for source in order.sources)
        self.sources = [source for stream in self._streams for source in stream.order.sources]
        self.join = self._streams[0].order.join
        for stream in self._streams:
            if stream.order.join != self.join:
                raise _refused(
                    f"a mixture with {stream.name!r}",
                    f"its items are packed otherwise than those of {self._streams[0].name!r}",
                    "Pack all streams alike, or mix first: Packed(Mix(…, epoch_size=…)).",
                )
        self._epoch_size, self._seed = epoch_size, seed
        self._words = f"weights={self._shares}, epoch_size={epoch_size}, seed={seed}"
        self._blocks: Recent[Picks] = Recent(4)

    def length(self, epoch: int) -> int | None:
        """`epoch_size`."""
        return self._epoch_size

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Items start:stop."""
        check_range(start, stop, self._epoch_size)
        begin = self._begin(epoch)
        start, stop = start + begin, stop + begin
        found = []
        while start < stop:
            stage = self._shares.stage(start)
            number, offset = divmod(start - self._shares.begins[stage], BLOCK)
            end = min(stop, start - offset + BLOCK, self._shares.end(stage))
            block = self._blocks.get((stage, number), lambda at=(stage, number): self._block(*at))  # type: ignore[misc]
            found.append(cut(block, offset, offset + end - start))
            start = end
        return concatenate(found)

    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """See Order. Positions are those of evenly spread streams, so the order is right to within a block."""
        start = self._begin(epoch) + position
        before = self._shares.counts(start)
        merged = heapq.merge(*(self._stream_uses(number, start, before[number]) for number in range(len(before))))
        for at, shard in merged:
            if self._epoch_size is None:
                yield Use(0, at, shard)
            else:
                yield Use(*divmod(at, self._epoch_size), shard)

    def fingerprint(self) -> str:
        """See Order."""
        streams = ", ".join(f"{stream.name}: {stream.order.fingerprint()}" for stream in self._streams)
        return f"Mix({streams}, {self._words})"

    def _begin(self, epoch: int) -> int:
        if self._epoch_size is None and epoch:
            raise _refused(f"epoch {epoch} of a mixture", "it has one that never ends", "Give epoch_size=.")
        return epoch * (self._epoch_size or 0)

    def _block(self, stage: int, number: int) -> Picks:
        start = self._shares.begins[stage] + number * BLOCK
        stop = min(start + BLOCK, self._shares.end(stage))
        before, after = self._shares.counts(start), self._shares.counts(stop)
        places = Permutation(stop - start, digest("mix", self._seed, stage, number))(np.arange(stop - start))
        index = np.empty(stop - start, dtype=np.int64)
        parts, begin = [], 0
        for stream, first, last in zip(self._streams, before, after, strict=True):
            if first < last:
                parts.append(stream.picks(first, last))
                end = begin + last - first
                index[np.sort(places[begin:end])] = np.arange(begin, end)
                begin = end
        return arrange(concatenate(parts), index)

    def _stream_uses(self, number: int, start: int, first: int) -> Iterator[tuple[int, int]]:
        for item, shard in self._streams[number].uses(first):
            at = self._shares.position(number, item)
            if at is None or at >= FOREVER:
                return
            yield max(at, start), shard


@final
class _Stream:
    """An order as one endless run of items, its epochs one after the other; shards numbered from `shards` on."""

    def __init__(self, name: str, order: Order, shards: int) -> None:
        self.name, self.order, self.shards = name, order, shards
        self._length = order.length(0)

    def picks(self, start: int, stop: int) -> Picks:
        """Items start:stop."""
        found = []
        while start < stop:
            epoch, at = divmod(start, self._length) if self._length is not None else (0, start)
            end = at + stop - start if self._length is None else min(at + stop - start, self._length)
            found.append(self.order.picks(epoch, at, end))
            start += end - at
        picks = concatenate(found)
        return Picks(picks.shards + self.shards, picks.samples, picks.ends, picks.spans)

    def uses(self, start: int) -> Iterator[tuple[int, int]]:
        """(item, shard) of first uses from item `start` on."""
        epoch, at = divmod(start, self._length) if self._length is not None else (0, start)
        for use in self.order.uses(epoch, at):
            yield use.epoch * (self._length or 0) + use.position, use.shard + self.shards


def _order(name: str, data: Source | Order | str, seed: int, window_shards: int) -> Order:
    if not isinstance(data, Order):
        source = data if isinstance(data, Source) else _open(data)
        return Shuffled(source, seed=int.from_bytes(digest(name, seed)[:7], "little"), window_shards=window_shards)
    if data.repeats or isinstance(data, Mix):
        return data
    raise _refused(
        f"a mixture with {name!r}",
        "its epochs are not equally long, as it is made of a mixture",
        "Mix first, then pack or bucket.",
    )


def _open(data: str) -> Source:
    from leyden.data.sources import open_source  # all formats and the network: workers import this package without

    return open_source(data)


def _refused(asked: str, found: str, do: str) -> DataError:
    return DataError(asked=f"{asked} was asked for", found=found, do=do)
