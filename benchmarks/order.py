"""How well does an order shuffle, how much padding do buckets and packing save, and what does a batch's plan cost?

PYTHONPATH=. python benchmarks/order.py      (some 20 s; the tables of docs/explain/order.md)
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from itertools import islice

import numpy as np
from tests.data.plan.simulated import LENGTHS, TEXT, Simulated

from leyden.data.plan import Bucketed, Mix, Packed, Shuffled
from leyden.data.plan.base import Order
from leyden.data.plan.keys import Rng
from leyden.data.plan.lengths import Lengths


def quality(shards: int = 1024, count: int = 1000, batch: int = 256) -> None:
    """Measured over one epoch of `shards` shards of `count` samples; in brackets what the formula gives."""
    print("| window | neighbours of one shard | mean distance within a shard, of an epoch | shards in a batch |")
    print("| --- | --- | --- | --- |")
    for window in (1, 4, 16, 64, 256, shards):
        drawn = Shuffled(Simulated([count] * shards), seed=0, window_shards=window).picks(0, 0, shards * count).shards
        same = (drawn[1:] == drawn[:-1]).mean()
        places = np.argsort(drawn, kind="stable").reshape(shards, count)
        weights = 2 * np.arange(count) - count + 1  # sum of |differences| of sorted numbers
        apart = (places @ weights).mean() / (count * (count - 1) / 2)
        rows = drawn[: len(drawn) // batch * batch].reshape(-1, batch)
        distinct = (np.diff(np.sort(rows, axis=1), axis=1) > 0).sum(axis=1).mean() + 1
        print(
            f"| {window} | {same:.2%} ({(count - 1) / (window * count - 1):.2%}) "
            f"| {apart / len(drawn):.2%} ({window / shards / 3:.2%}) "
            f"| {distinct:.1f} ({window * (1 - (1 - 1 / window) ** batch):.1f}) |"
        )


def padding(order: Order, batch: int) -> float:
    """Share of padding if each batch is padded to its longest sample."""
    lengths = Lengths(order.sources, "text").of(order.picks(0, 0, len(LENGTHS)))
    return float(1 - lengths.sum() / (lengths.reshape(-1, batch).max(axis=1).sum() * batch))


def lengths() -> None:
    """Padding in batches and in items, for documents of 1 to 8,192 tokens."""
    shuffled = Shuffled(TEXT, seed=0)
    for batch in (16, 64):
        buckets = ", ".join(
            f"{padding(Bucketed(shuffled, 'text', window=window), batch):.1%} (window {window:,})"
            for window in (4096, 8192, 16_384)
        )
        print(f"batch {batch}: {padding(shuffled, batch):.1%} padding shuffled; in buckets {buckets}")
    for length in (1024, 2048, 8192):
        whole = np.less_equal(LENGTHS, length).mean()
        full = [Packed(shuffled, length=length, method=method).utilisation() for method in ("split", "fit")]
        print(
            f"items of {length:,}: one document an item {np.minimum(LENGTHS, length).mean() / length:.1%} full; "
            f"split {full[0]:.3%}; fit {full[1]:.2%}, with {whole:.1%} of documents whole"
        )


def cost() -> None:
    """Of one batch, the least of many; and from nothing at position 10**9 of a trillion samples."""
    huge = Simulated(np.full(10**6, 10**6))
    begin = time.perf_counter()
    order = Shuffled(huge, seed=1)
    order.picks(3, 10**9, 10**9 + 256)
    picked = time.perf_counter()
    list(islice(order.ahead(3, 10**9), 100))
    print(f"10**12 samples: first batch {1e3 * (picked - begin):.1f} ms from nothing, ", end="")
    print(f"100 shards ahead {1e3 * (time.perf_counter() - picked):.1f} ms")
    rng, mix = Rng(0), Mix({"a": TEXT, "b": TEXT}, weights={"a": 1, "b": 3})
    small = Shuffled(Simulated([1000] * 100), seed=1)
    print(f"batch of 64: shuffled {planning(small, 64):.0f} µs")
    for name, one, block in (("mixed", mix, 1024), ("in buckets", Bucketed(Shuffled(TEXT, seed=0), "text"), 8192)):
        first = planning(one, 64, step=block, calls=5)
        print(f"batch of 64: {name} {first:.0f} µs, the first of {block} positions; others {planning(one, 64):.0f} µs")
    for method in ("split", "fit"):
        packed = Packed(Shuffled(TEXT, seed=0), length=2048, method=method)
        print(f"16 items of 2,048 tokens: {method} {planning(packed, 16, step=16):.0f} µs")
    print(f"random numbers of a sample: {least(lambda at: rng.at(0, at), calls=10_000):.1f} µs")


def planning(order: Order, size: int, step: int = 0, calls: int = 16) -> float:
    """Microseconds for a batch of `size` items, `step` after the last."""
    return least(lambda at: order.picks(0, at * (step or size), at * (step or size) + size), calls)


def least(call: Callable[[int], object], calls: int = 100) -> float:
    """Microseconds of one call, given 0, 1, …"""
    call(0)
    return 1e6 * min(timeit.repeat(lambda: [call(at) for at in range(calls)], number=1, repeat=7)) / calls


if __name__ == "__main__":
    quality()
    lengths()
    cost()
