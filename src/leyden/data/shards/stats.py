"""What do the samples of a data set have in common? Counts, sizes, labels, and the mean and deviation of pixels."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leyden.data.shards.progress import Bar
from leyden.data.shards.walk import Walk
from leyden.data.sources.base import Source
from leyden.data.sources.sample import Sample

PERCENTILES = (0, 5, 50, 95, 100)
_CLASSES = 10_000  # a number with more values than this is no label


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Of bytes a field has in a sample."""

    mean: float
    percentiles: Mapping[int, float]  # PERCENTILES


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixels:
    """Of a picture field, channel by channel, of values 0 to 1: what a normalising transform is given."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: Mapping[str, int]  # "1216×1920" → pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """Of the samples looked at."""

    samples: int
    looked_at: int
    fields: Mapping[str, Spread]
    labels: Mapping[str, Mapping[int, int]]  # of each int field: value → samples
    pixels: Mapping[str, Pixels]


def stats(
    source: Source,
    *,
    samples: int | None = None,
    pixels: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
    options: Mapping[str, str] | None = None,
) -> Stats:
    """Of all samples, or of so many, evenly spread. `pixels` decodes all their pictures."""
    total = int(source.counts.sum())
    chosen = np.unique(np.linspace(0, total - 1, min(total, samples or total)).astype(np.int64))
    ends = np.cumsum(source.counts)
    shards = np.searchsorted(ends, chosen, side="right")
    seen = _Seen()
    with Bar(f"reading {source.root}", len(chosen), show=progress) as bar:

        def one(shard: int) -> None:
            here = _Seen()
            with Walk(source, whole=samples is None, options=options) as walk:
                for number in chosen[shards == shard].tolist():
                    here.look(walk[number], pixels=pixels)
                    bar.add(1)
            seen.join(here)

        with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), "leyden-stats") as pool:
            list(pool.map(one, np.unique(shards).tolist()))
    return Stats(
        samples=total,
        looked_at=len(chosen),
        fields={name: _spread(np.array(sizes)) for name, sizes in seen.sizes.items()},
        labels={name: dict(sorted(found.items())) for name, found in seen.labels.items() if len(found) <= _CLASSES},
        pixels={name: found.result() for name, found in seen.sums.items()},
    )


@dataclass(kw_only=True, slots=True)
class _Sums:
    """Of a picture field; integers, so that no order of adding changes them."""

    count: int = 0
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    squares: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    sizes: Counter[str] = field(default_factory=Counter)

    def look(self, image: NDArray[np.uint8]) -> None:
        flat = image.reshape(-1, 3)
        values = np.arange(256, dtype=np.int64)
        counts = np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(3)])
        self.count += len(flat)
        self.total += counts @ values
        self.squares += counts @ values**2
        self.sizes[f"{image.shape[0]}×{image.shape[1]}"] += 1

    def join(self, other: _Sums) -> None:
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.sizes += other.sizes

    def result(self) -> Pixels:
        mean = self.total / self.count
        std = np.sqrt(self.squares / self.count - mean**2)
        return Pixels(
            mean=tuple((mean / 255).round(6).tolist()),
            std=tuple((std / 255).round(6).tolist()),
            sizes=dict(self.sizes.most_common()),
        )


@dataclass(kw_only=True, slots=True)
class _Seen:
    sizes: dict[str, list[int]] = field(default_factory=dict)
    labels: dict[str, Counter[int]] = field(default_factory=dict)
    sums: dict[str, _Sums] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, sample: Any, *, pixels: bool) -> None:
        if not isinstance(sample, Sample):
            return
        stored = {name: (kind, raw) for name, kind, raw in sample.stored()}
        for name in sample:
            kind, raw = stored.get(name, ("", b""))
            if raw or kind:
                self.sizes.setdefault(name, []).append(len(raw))
            if kind in {"jpeg", "png"}:
                if pixels:
                    self.sums.setdefault(name, _Sums()).look(sample[name])
            elif kind == "int" or (not kind and isinstance(sample[name], int | np.integer)):
                self.labels.setdefault(name, Counter())[int(sample[name])] += 1

    def join(self, other: _Seen) -> None:
        with self.lock:
            for name, sizes in other.sizes.items():
                self.sizes.setdefault(name, []).extend(sizes)
            for name, labels in other.labels.items():
                self.labels.setdefault(name, Counter()).update(labels)
            for name, sums in other.sums.items():
                self.sums.setdefault(name, _Sums()).join(sums)


def _spread(sizes: NDArray[np.int64]) -> Spread:
    found = np.percentile(sizes, PERCENTILES).round(1).tolist()
    return Spread(mean=round(float(sizes.mean()), 1), percentiles=dict(zip(PERCENTILES, found, strict=True)))
