"""Do samples of similar length come together, each once, and how much padding does it save?"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import DataError
from leyden.data.plan import Bucketed, Mix, Packed, Shuffled
from leyden.data.plan.base import Order
from leyden.data.plan.lengths import Lengths
from leyden.data.sources.base import Ints
from tests.data.plan.simulated import LENGTHS, TEXT, Simulated, drawn, everything


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 60), st.integers(0, 3), st.integers(1, 70))
@settings(max_examples=80, deadline=None)
def test_each_sample_once_by_any_cut(total: int, window: int, group: int, epoch: int, cut: int) -> None:
    source = Simulated([total // 2, total - total // 2], LENGTHS[:total])
    if group > window:
        return
    order = Bucketed(Shuffled(source, seed=1), "text", window=window, group=group)
    whole = drawn(order, epoch, 0, total)
    assert sorted(whole) == everything(source)
    again = Bucketed(Shuffled(source, seed=1), LENGTHS[:total], window=window, group=group)
    assert whole == [pick for at in range(0, total, cut) for pick in drawn(again, epoch, at, min(at + cut, total))]
    for at in range(0, total, window):  # a window holds the samples that the order beneath has there
        end = min(at + window, total)
        assert set(whole[at:end]) == set(drawn(Shuffled(source, seed=1), epoch, at, end))


def test_padding_saved() -> None:
    """Of all tokens in batches of 16 padded to their longest: 76 % padding as shuffled, 1.7 % in buckets."""
    shuffled = Shuffled(TEXT, seed=2)
    bucketed = Bucketed(shuffled, "text")
    assert 0.74 < padding(shuffled, 16) < 0.78
    assert padding(bucketed, 16) < 0.02
    assert padding(bucketed, 64) < 0.09  # 86 % as shuffled


def test_groups_come_in_random_order() -> None:
    """Mean lengths of the groups, one after the other, are not correlated, and differ from epoch to epoch."""
    order = Bucketed(Shuffled(TEXT, seed=2), "text")
    picks = [order.picks(epoch, 0, 32_768) for epoch in range(2)]
    means = [np.log(Lengths([TEXT], "text").of(pick)).reshape(128, 256).mean(axis=1) for pick in picks]
    assert abs(np.corrcoef(means[0][1:], means[0][:-1])[0, 1]) < 0.35
    assert abs(np.corrcoef(means[0], means[1])[0, 1]) < 0.35


def test_over_a_mixture_without_an_end() -> None:
    mix = Mix({"a": TEXT, "b": TEXT}, weights={"a": 1, "b": 2})
    order = Bucketed(mix, "text", window=1024, group=64)
    assert order.length(0) is None
    assert padding(order, 16, 8192) < 0.15
    assert set(drawn(order, 0, 4096, 5120)) == set(drawn(mix, 0, 4096, 5120))


@pytest.mark.parametrize("position", [0, 300, 512, 39_990, 40_000])
def test_shards_ahead(position: int) -> None:
    """Whatever is used next comes before what is used later, window by window, and nothing is missing."""
    order = Bucketed(Shuffled(TEXT, seed=3, window_shards=4), "text", window=512, group=64)
    uses = list(islice(order.uses(0, position), 200))
    assert [(use.epoch, use.position // 512) for use in uses] == sorted((u.epoch, u.position // 512) for u in uses)
    for use in uses:
        assert order.picks(use.epoch, use.position, use.position + 1).shards[0] == use.shard
    stop = min(position + 400, 40_000)
    needed = list(dict.fromkeys(order.picks(0, position, stop).shards.tolist()))
    assert [use.shard for use in uses if use.epoch == 0][: len(needed)] == needed


def test_what_cannot_be() -> None:
    shuffled = Shuffled(TEXT, seed=1)
    with pytest.raises(DataError, match="buckets of 9 samples by length within windows of 8 were asked for"):
        Bucketed(shuffled, "text", window=8, group=9)
    with pytest.raises(DataError, match="packed items are all equally long"):
        Bucketed(Packed(shuffled, length=8), "text")
    with pytest.raises(DataError, match=r"order by the lengths of 'text' was asked for; simulated does not keep them"):
        Bucketed(Shuffled(Simulated([4]), seed=1), "text")
    with pytest.raises(DataError, match="lengths of 40000 samples was asked for; 3 lengths are given, the least is 1"):
        Bucketed(shuffled, np.array([1, 2, 3]))
    with pytest.raises(DataError, match=r"an order over Simulated was asked for.*Give Shuffled"):
        Bucketed(TEXT, "text")  # type: ignore[arg-type]
    assert Bucketed(shuffled, "text").fingerprint() != Bucketed(shuffled, "text", group=128).fingerprint()
    assert Bucketed(shuffled, LENGTHS).fingerprint() != Bucketed(shuffled, LENGTHS + 1).fingerprint()


def padding(order: Order, batch: int, total: int = 40_000) -> float:
    lengths: Ints = Lengths(order.sources, "text").of(order.picks(0, 0, total))
    batches = lengths.reshape(-1, batch)
    return float(1 - lengths.sum() / (batches.max(axis=1).sum() * batch))
