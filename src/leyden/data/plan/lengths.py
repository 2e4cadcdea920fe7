"""How long is each sample of an order? Looked up for picks, from what the sources know or what the user gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Picks
from leyden.data.plan.pieces import running
from leyden.data.sources.base import Ints, Source


@final
class Lengths:
    """Lengths of all samples of all sources; `given` is a field's name, or one array for all samples as stored."""

    def __init__(self, sources: Sequence[Source], given: str | Ints) -> None:
        counts = np.concatenate([np.asarray(source.counts, dtype=np.int64) for source in sources])
        self.begins = running(counts)  # number of each shard's first sample
        self.name = given if isinstance(given, str) else hashlib.blake2b(np.asarray(given).tobytes()).hexdigest()[:12]
        known = [_known(source, given) for source in sources] if isinstance(given, str) else [np.asarray(given)]
        self.values: Ints = np.concatenate(known).astype(np.int64, copy=False)
        if len(self.values) != self.begins[-1] or (len(self.values) and self.values.min() < 0):
            raise DataError(
                asked=f"an order by the lengths of {self.begins[-1]} samples was asked for",
                found=f"{len(self.values)} lengths are given, the least is {min(self.values, default=0)}",
                do="Give one length from 0 up for each sample, in the order in which they are stored.",
            )

    def of(self, picks: Picks) -> Ints:
        """[pieces]"""
        lengths: Ints = self.values[self.begins[picks.shards] + picks.samples]
        return lengths

    def by_shard(self) -> Ints:
        """Sum for each shard, over all sources."""
        return np.diff(running(self.values)[self.begins])


def _known(source: Source, field: str) -> Ints:
    known = source.lengths(field)
    if known is None:
        raise DataError(
            asked=f"an order by the lengths of {field!r} was asked for",
            found=f"{source.root or type(source).__name__} does not keep them",
            do="Name a field whose lengths are stored, write the data as shards that store them, or give an array.",
        )
    return known
