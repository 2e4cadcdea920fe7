"""Is an order exact, pure and fast, and how well does it shuffle?"""

from __future__ import annotations

import pickle
import time
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import DataError
from leyden.data.plan.base import Order
from leyden.data.plan.deal import Deal
from leyden.data.plan.order import Sequential, Shuffled
from tests.data.plan.simulated import Simulated, drawn, everything

EVEN = Simulated([40] * 50)
COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=100).filter(any)


@given(COUNTS, st.integers(1, 20), st.integers(), st.integers(0, 5), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_each_sample_once_by_any_cut(counts: list[int], window: int, seed: int, epoch: int, cut: int) -> None:
    source = Simulated(counts)
    total = sum(counts)
    whole = drawn(Shuffled(source, seed=seed, window_shards=window), epoch, 0, total)
    assert sorted(whole) == everything(source)
    again = Shuffled(source, seed=seed, window_shards=window)
    pieces = [drawn(again, epoch, at, min(at + cut, total)) for at in range(0, total, cut)]
    for number in reversed(range(len(pieces))):  # purity: asked in another order, each alone
        assert drawn(again, epoch, number * cut, min((number + 1) * cut, total)) == pieces[number]
    assert [pick for piece in pieces for pick in piece] == whole
    assert drawn(Sequential(source), epoch, 0, total) == everything(source)


@pytest.mark.parametrize("counts", [[40] * 49 + [7], [40, 39] * 40 + list(range(60))], ids=["one short", "uneven"])
def test_windows_hold_whole_shards(counts: list[int]) -> None:
    """Both ways to find a window: by arithmetic and by a running sum."""
    order = Shuffled(Simulated(counts), seed=1, window_shards=8)
    shards = [shard for shard, _ in drawn(order, 0, 0, sum(counts))]
    first = {shard: at for at, shard in reversed(list(enumerate(shards)))}
    for at in range(0, len(shards), 10):
        assert len(set(shards[: at + 1]) & set(shards[at + 1 :])) <= 8
    assert list(first.values()) != sorted(first.values()) or len(first) == 1


def test_epochs_and_seeds_differ() -> None:
    orders = [
        drawn(Shuffled(EVEN, seed=seed), epoch, 0, 2000) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (-1, 0)]
    ]
    for one, other in pairwise(orders):
        assert sum(a == b for a, b in zip(one, other, strict=True)) < 12  # one is expected
    assert drawn(Shuffled(EVEN, seed=0), 1, 0, 2000) == orders[1]
    assert pickle.loads(pickle.dumps(Shuffled(EVEN, seed=0))).picks(1, 5, 6).shards[0] == orders[1][5][0]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_same_order_on_any_number_of_ranks(batch: int, size: int, other_batch: int, other_size: int) -> None:
    """Ranks of two worlds, each with an order of its own, read the same 2,000 samples in the same order."""

    def read(deal: Deal, order: Order, until: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        position = 0
        while position < until:
            for rank in range(deal.size):
                part = Deal(batch_size=deal.batch_size, rank=rank, size=deal.size).part(None, position)
                assert part
                found += drawn(order, 3, part.start, part.stop)
            position += deal.batch_size * deal.size
        return found[:until]

    one = read(Deal(batch_size=batch, size=size), Shuffled(EVEN, seed=1), 300)
    assert one == read(Deal(batch_size=other_batch, size=other_size), Shuffled(EVEN, seed=1), 300)


@pytest.mark.parametrize("order", [Sequential(Simulated([3, 0, 4, 1])), Shuffled(Simulated([3, 0, 4, 1] * 9), seed=0)])
def test_shards_ahead_are_those_that_are_used(order: Order) -> None:
    """From every position: against the order itself, over the rest of this epoch and the two after it."""
    total = order.length(0)
    assert total
    shards = [[shard for shard, _ in drawn(order, epoch, 0, total)] for epoch in range(3)]
    window = order.window_shards if isinstance(order, Shuffled) else 1
    for position in range(total + 1):
        expected: list[int] = []
        for epoch in range(3):
            left = shards[epoch][position if epoch == 0 else 0 :]
            expected += dict.fromkeys(left)
        assert list(islice(order.ahead(0, position), len(expected))) == expected, (position, window)


def test_uses_say_where() -> None:
    order = Shuffled(Simulated([5000, 3, 5000, 0] * 4), seed=2, window_shards=4)
    total = order.length(0)
    shards = order.picks(0, 0, total).shards
    uses = [use for use in islice(order.uses(0, 100), 12) if use.epoch == 0]
    assert [use.position for use in uses] == sorted(use.position for use in uses)
    for use in uses:
        assert shards[use.position] == use.shard
        assert use.shard not in shards[100 : use.position]


def test_a_trillion_samples() -> None:
    """10**6 shards of 10**6: the first batch at position 10**9 from nothing, the shards ahead, then batch by batch."""
    source = Simulated(np.full(10**6, 10**6))
    begin = time.perf_counter()
    order = Shuffled(source, seed=1)
    picks = order.picks(3, 10**9, 10**9 + 256)
    first = time.perf_counter()
    ahead = list(islice(order.ahead(3, 10**9), 1000))
    end = time.perf_counter()
    assert first - begin < 0.1
    assert end - first < 0.5
    assert len(set(ahead)) == 1000
    assert set(picks.shards.tolist()) <= set(ahead[:16])
    least = min(timed(lambda at=at: order.picks(3, 10**9 + at, 10**9 + at + 64)) for at in range(0, 6400, 64))
    assert least < 500e-6  # 70 µs on an idle core


def test_a_map_style_data_set_is_shuffled_as_a_whole() -> None:
    """One shard: mean displacement n / 3, as in a random permutation."""
    samples = Shuffled(Simulated([30_000]), seed=4).picks(0, 0, 30_000).samples
    assert abs(np.abs(samples - np.arange(30_000)).mean() / 10_000 - 1) < 0.02


@pytest.mark.parametrize("window", [4, 16, 64])
def test_quality_within_a_window(window: int) -> None:
    """The formulas of docs/explain/order.md, for 256 shards of 100, over 8 epochs."""
    order, total, count = Shuffled(Simulated([100] * 256), seed=5, window_shards=window), 25_600, 100
    shards = np.array([order.picks(epoch, 0, total).shards for epoch in range(8)])
    inside = (np.arange(total - 1) % (window * count)) != window * count - 1
    same = (shards[:, 1:] == shards[:, :-1])[:, inside].mean()
    assert abs(same - (count - 1) / (window * count - 1)) < 4 * np.sqrt(same / inside.sum() / 8)
    batches = shards.reshape(-1, 20)  # 20 divides a window
    distinct = np.mean([len(np.unique(batch)) for batch in batches])
    assert abs(distinct - window * (1 - (1 - 1 / window) ** 20)) < 0.1
    places = np.argsort(shards, axis=1, kind="stable")  # [epochs, sample by shard]: where the shard's samples are
    spread = (places.reshape(8, 256, count).max(2) - places.reshape(8, 256, count).min(2)).max()
    assert spread < window * count


def test_positions_are_uniform_over_epochs() -> None:
    """Where sample 0 of shard 0 comes in 2,000 epochs: ten bins of 200 each, chi-square with 9 degrees of freedom."""
    order = Shuffled(Simulated([20] * 40), seed=6, window_shards=8)
    at = [
        int(np.flatnonzero((picks.shards == 0) & (picks.samples == 0))[0])
        for picks in (order.picks(epoch, 0, 800) for epoch in range(2000))
    ]
    counts = np.bincount(np.array(at) // 80, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 9 + 4.5 * np.sqrt(18)


def test_what_cannot_be() -> None:
    with pytest.raises(DataError, match=r"an order of the samples in simulated was asked for; its 2 shards hold none"):
        Shuffled(Simulated([0, 0]), seed=0)
    with pytest.raises(DataError, match="a window of 0 shards was asked for"):
        Shuffled(EVEN, seed=0, window_shards=0)
    for order in (Shuffled(EVEN, seed=0), Sequential(EVEN)):
        with pytest.raises(DataError, match="positions 1999 to 2001 of an order were asked for; the epoch has 2000"):
            order.picks(0, 1999, 2001)
        assert len(order.picks(0, 5, 5).shards) == 0


def timed(call: object) -> float:
    begin = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - begin
