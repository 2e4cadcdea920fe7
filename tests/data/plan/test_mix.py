"""Are shares exact at any position, streams never out of order, and stages as they were asked for?"""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import DataError
from leyden.data.plan import Mix, Packed, Sequential, Shuffled
from leyden.data.plan.mix import BLOCK
from leyden.data.plan.shares import Shares
from leyden.data.sources import MapStyle
from tests.data.plan.simulated import Simulated, drawn

ONE, TWO = Simulated([50] * 20), Simulated([7] * 10)


def ordered(**arguments: object) -> Mix:
    """Streams in their stored order: shards 0-19 are `one`, 20-29 `two`."""
    return Mix({"one": Sequential(ONE), "two": Sequential(TWO)}, **arguments)  # type: ignore[arg-type]


@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=4, max_size=4).filter(any), min_size=1, max_size=3),
    st.lists(st.integers(0, 10**17), min_size=2, max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_counts_add_up_and_never_go_back(weights: list[list[float]], positions: list[int]) -> None:
    names = list("abcd")
    stages = [(1000 * number, dict(zip(names, stage, strict=True))) for number, stage in enumerate(weights)]
    shares = Shares(names, stages)
    before: tuple[int, ...] = (0, 0, 0, 0)
    for n in sorted({*positions, *(n + 1 for n in positions), 0, 999, 1000, 1001, 2000}):
        counts = shares.counts(n)
        assert sum(counts) == n
        assert all(a <= b for a, b in zip(before, counts, strict=True))
        exact = np.zeros(4)
        for (begin, _), end, stage in zip(stages, [*(b for b, _ in stages[1:]), 10**18], weights, strict=True):
            exact += np.array(stage) / sum(stage) * max(min(n, end) - begin, 0)
        assert np.abs(exact - counts).max() <= 4 * len(stages) + 1e-6 * n / 1e6
        before = counts


@given(st.integers(0, 10**12), st.integers(0, 1))
@settings(max_examples=100, deadline=None)
def test_where_an_item_comes(item: int, stream: int) -> None:
    shares = Shares(["a", "b"], [(0, {"a": 1, "b": 2}), (500, {"b": 1}), (900, {"a": 0.1, "b": 0.3})])
    at = shares.position(stream, item)
    assert at is not None
    assert shares.counts(at)[stream] <= item < shares.counts(at + 1)[stream]
    assert Shares(["a", "b"], [(0, {"a": 1}), (10, {"b": 1})]).position(0, 10) is None


@given(st.integers(0, 3 * BLOCK), st.integers(1, 600), st.sampled_from([None, 700, 2500]))
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_the_same(start: int, size: int, epoch_size: int | None) -> None:
    mix = ordered(weights=[(0, {"one": 3, "two": 1}), (1500, {"one": 1, "two": 1})], epoch_size=epoch_size)
    epoch, at = divmod(start, epoch_size) if epoch_size else (0, start)
    stop = min(at + size, epoch_size or at + size)
    whole = drawn(mix, epoch, at, stop)
    assert whole == [pick for position in range(at, stop) for pick in drawn(mix, epoch, position, position + 1)]


def test_each_stream_comes_in_its_own_order_through_its_own_epochs() -> None:
    picks = ordered(weights={"one": 3, "two": 1}).picks(0, 0, 4 * BLOCK)
    one, two = picks.shards < 20, picks.shards >= 20
    assert one.sum() == 3 * BLOCK
    assert two.sum() == BLOCK
    assert np.array_equal(picks.shards[one] * 50 + picks.samples[one], np.arange(3 * BLOCK) % 1000)
    assert np.array_equal((picks.shards[two] - 20) * 7 + picks.samples[two], np.arange(BLOCK) % 70)
    shuffled = Mix({"one": ONE, "two": TWO}, weights={"one": 3, "two": 1})
    picks = shuffled.picks(0, 0, 4 * BLOCK)
    numbers = (picks.shards * 50 + picks.samples)[picks.shards < 20]
    assert sorted(numbers[:1000]) == sorted(numbers[1000:2000]) == list(range(1000))
    assert numbers[:1000].tolist() != numbers[1000:2000].tolist()


def test_epochs_go_on_where_the_last_ended() -> None:
    endless, epochs = ordered(weights={"one": 1, "two": 2}), ordered(weights={"one": 1, "two": 2}, epoch_size=900)
    assert epochs.length(0) == 900
    assert endless.length(0) is None
    assert [drawn(epochs, epoch, 0, 900) for epoch in range(3)] == [
        drawn(endless, 0, 900 * epoch, 900 * epoch + 900) for epoch in range(3)
    ]
    with pytest.raises(DataError, match="epoch 1 of a mixture was asked for; it has one that never ends"):
        endless.picks(1, 0, 1)


def test_places_in_a_block_are_random() -> None:
    """Share 1/4: over 64 blocks, the count at each of 16 sixteenths of the block, chi-square with 15 degrees."""
    shards = ordered(weights={"one": 3, "two": 1}).picks(0, 0, 64 * BLOCK).shards.reshape(64, 16, BLOCK // 16)
    counts = (shards >= 20).sum(axis=(0, 2))
    expected = 64 * BLOCK / 64
    assert counts.sum() == 64 * BLOCK / 4
    assert ((counts - expected) ** 2 / (expected * 0.75)).sum() < 15 + 4.5 * np.sqrt(30)
    runs = np.diff(np.flatnonzero((shards >= 20).ravel()))
    assert abs((runs == 1).mean() - 0.25) < 0.02  # as independent draws have it, never by turns


def test_a_curriculum_changes_at_its_positions() -> None:
    stages = [(0, {"one": 1}), (3 * BLOCK, {"one": 1, "two": 1}), (5 * BLOCK, {"two": 1})]
    mix = ordered(weights=stages, epoch_size=2 * BLOCK)
    two = [(mix.picks(epoch, 0, 2 * BLOCK).shards >= 20).reshape(2, BLOCK).sum(axis=1).tolist() for epoch in range(4)]
    assert two == [[0, 0], [0, BLOCK / 2], [BLOCK / 2, BLOCK], [BLOCK, BLOCK]]
    odd = ordered(weights=[(0, {"one": 1}), (1500, {"two": 1})])
    assert np.array_equal(odd.picks(0, 1000, 2000).shards >= 20, np.arange(1000, 2000) >= 1500)


def test_shards_ahead_are_used_in_about_this_order() -> None:
    mix = Mix({"one": ONE, "two": TWO}, weights={"one": 3, "two": 1}, epoch_size=1000, window_shards=4)
    uses = list(islice(mix.uses(0, 200), 60))
    place = [use.epoch * 1000 + use.position for use in uses]
    assert place == sorted(place)
    assert place[0] >= 200
    shards = np.concatenate([mix.picks(epoch, 0, 1000).shards for epoch in range(5)])
    for use, at in zip(uses, place, strict=True):
        nearby = np.abs(np.flatnonzero(shards == use.shard) - at)
        assert nearby.min() <= BLOCK
    soon = set(shards[200:300].tolist())
    assert soon <= {use.shard for use in uses}
    gone = Mix({"one": ONE, "two": TWO}, weights=[(0, {"one": 1, "two": 1}), (100, {"one": 1})])
    assert {use.shard >= 20 for use in islice(gone.uses(0, 100), 100)} == {False}


def test_a_far_position_of_huge_streams_costs_nothing() -> None:
    huge = Simulated(np.full(10**6, 10**6))
    begin = time.perf_counter()
    mix = Mix({"a": huge, "b": huge, "c": huge}, weights=[(0, {"a": 1, "b": 1}), (10**14, {"a": 1, "b": 1, "c": 1})])
    picks = mix.picks(0, 10**15, 10**15 + 256)
    assert time.perf_counter() - begin < 0.2
    assert set(np.unique(picks.shards // 10**6)) == {0, 1, 2}


def test_packed_streams_are_mixed_by_items() -> None:
    lengths = np.arange(1000) % 90 + 1
    packed = {
        name: Packed(Shuffled(Simulated([50] * 20), seed=number), length=64, lengths=lengths)
        for number, name in enumerate("ab")
    }
    mix = Mix(packed, weights={"a": 1, "b": 3})
    picks = mix.picks(0, 100, 500)
    assert mix.join == packed["a"].join
    assert picks.ends is not None
    assert picks.spans is not None
    assert len(picks.ends) == 400
    sizes = np.add.reduceat(picks.spans[:, 1] - picks.spans[:, 0], [0, *picks.ends[:-1]])
    assert (sizes == 64).sum() >= 397  # but for the ends of epochs
    firsts = picks.shards[np.concatenate([[0], picks.ends[:-1]])]
    assert abs((firsts >= 20).sum() - 300) < 40


def test_what_cannot_be_mixed() -> None:
    for weights, match in [
        ({"one": 1, "two": 1, "tow": 1}, r"there is no stream 'tow' \(did you mean 'two'\?\)"),
        ({"one": 1}, "stream 'two' has none. Give each stream one, which may be 0"),
        ({"one": -1, "two": 1}, "that of 'one' is -1"),
        ({"one": float("nan"), "two": 1}, "that of 'one' is nan"),
        ({"one": 0.0, "two": 0}, "they are all 0"),
        ([(5, {"one": 1})], r"they hold from positions \[5\]\. Begin with 0"),
        ([(0, {"one": 1}), (0, {"two": 1})], "Begin with 0 and go up"),
    ]:
        with pytest.raises(DataError, match=match):
            ordered(weights=weights)
    with pytest.raises(DataError, match="an epoch of 0 items was asked for"):
        ordered(weights={"one": 1}, epoch_size=0)
    packed = Packed(Sequential(ONE), length=8, lengths=np.ones(1000, dtype=np.int64))
    with pytest.raises(DataError, match="a mixture with 'b' was asked for; its items are packed otherwise than"):
        Mix({"a": packed, "b": ONE}, weights={"a": 1, "b": 1})
    mixed = Packed(
        ordered(weights={"one": 1, "two": 1}, epoch_size=100), length=8, lengths=np.ones(1070, dtype=np.int64)
    )
    with pytest.raises(DataError, match="its epochs are not equally long"):
        Mix({"a": mixed}, weights={"a": 1})


def test_fingerprints_differ() -> None:
    mixes = [
        ordered(weights={"one": 1, "two": 1}),
        ordered(weights={"one": 1, "two": 2}),
        ordered(weights={"one": 1, "two": 1}, epoch_size=9),
        ordered(weights={"one": 1, "two": 1}, seed=1),
        Mix({"one": ONE, "two": TWO}, weights={"one": 1, "two": 1}),
    ]
    assert len({mix.fingerprint() for mix in mixes}) == 5
    assert mixes[0].fingerprint() == ordered(weights={"two": 0.5, "one": 0.5}).fingerprint()


def test_a_map_style_data_set_is_a_stream() -> None:
    mix = Mix({"list": list(range(30)), "one": ONE}, weights={"list": 1, "one": 1})  # type: ignore[dict-item]
    assert isinstance(mix.sources[0], MapStyle)
    assert (mix.picks(0, 0, BLOCK).shards == 0).sum() == BLOCK / 2
