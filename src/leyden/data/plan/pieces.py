"""How are picks cut, joined and put into another order, one piece an item or several?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leyden.data.plan.base import Picks
from leyden.data.sources.base import Ints


def concatenate(parts: Sequence[Picks]) -> Picks:
    """One after the other; all have several pieces an item, or none has."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Picks(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    shards, samples = (np.concatenate(arrays) for arrays in ([p.shards for p in parts], [p.samples for p in parts]))
    if parts[0].ends is None:
        return Picks(shards, samples)
    begins = running([len(part.shards) for part in parts])
    ends = np.concatenate([_ends(part) + begin for part, begin in zip(parts, begins[:-1], strict=True)])
    return Picks(shards, samples, ends, np.concatenate([part.spans for part in parts if part.spans is not None]))


def cut(picks: Picks, start: int, stop: int) -> Picks:
    """Items start:stop."""
    if picks.ends is None or picks.spans is None:
        return Picks(picks.shards[start:stop], picks.samples[start:stop])
    first = int(picks.ends[start - 1]) if start else 0
    last = int(picks.ends[stop - 1]) if stop else 0
    return Picks(
        picks.shards[first:last], picks.samples[first:last], picks.ends[start:stop] - first, picks.spans[first:last]
    )


def arrange(picks: Picks, index: Ints) -> Picks:
    """Item index[i] becomes item i."""
    if picks.ends is None or picks.spans is None:
        return Picks(picks.shards[index], picks.samples[index])
    begins = np.concatenate([[0], picks.ends[:-1]])
    sizes = (picks.ends - begins)[index]
    ends = np.cumsum(sizes)
    pieces = np.arange(sizes.sum()) + np.repeat(begins[index] - (ends - sizes), sizes)
    return Picks(picks.shards[pieces], picks.samples[pieces], ends, picks.spans[pieces])


def running(counts: Ints | Sequence[int]) -> Ints:
    """Running sum from 0: [n] → [n + 1]."""
    sums = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=sums[1:])
    return sums


def _ends(picks: Picks) -> Ints:
    assert picks.ends is not None
    return picks.ends
