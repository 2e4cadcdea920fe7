"""Sources without files, as large as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leyden.data.plan.base import Order
from leyden.data.sources.base import Ints, Reader, Shard, Source


class Simulated(Source):
    """So many samples in each shard; `lengths` are those of every field."""

    root = "simulated"

    def __init__(self, counts: Sequence[int] | Ints, lengths: Ints | None = None) -> None:
        self._counts = np.asarray(counts, dtype=np.int64)
        self._lengths = lengths

    @property
    def counts(self) -> Ints:
        return self._counts

    def shard(self, number: int) -> Shard:
        return Shard(name=f"{number:06}.tar", size_bytes=int(self._counts[number]))

    def lengths(self, field: str) -> Ints | None:
        return self._lengths

    def open(self, shard: int, path: Path | None) -> Reader:
        raise NotImplementedError


# Documents' lengths in tokens: log-normal, median 300, mean 495, as web text has it.
LENGTHS = np.clip(np.random.default_rng(0).lognormal(5.7, 1.0, 40_000), 1, 8192).astype(np.int64)
TEXT = Simulated([500] * 80, LENGTHS)


def drawn(order: Order, epoch: int, start: int, stop: int) -> list[tuple[int, int]]:
    """(shard, sample) of each piece."""
    picks = order.picks(epoch, start, stop)
    return list(zip(picks.shards.tolist(), picks.samples.tolist(), strict=True))


def everything(source: Source) -> list[tuple[int, int]]:
    """(shard, sample) of all samples as stored."""
    return [(shard, sample) for shard, count in enumerate(source.counts.tolist()) for sample in range(count)]
