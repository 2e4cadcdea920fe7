"""Does packing lose no token, cut no document that fits, fill its items, and join them as masks need it?"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import CorruptError, DataError
from leyden.data.plan import Mix, Packed, Sequential, Shuffled
from leyden.data.plan.base import Order, Picks
from leyden.data.plan.fit import best_fit
from leyden.data.sources.base import Ints
from tests.data.plan.simulated import LENGTHS, TEXT, Simulated

DOCUMENTS = st.lists(st.integers(0, 40), min_size=1, max_size=120).filter(any)


def items(picks: Picks) -> list[list[tuple[int, int, int, int]]]:
    """[items][pieces] of (shard, sample, start, stop)."""
    assert picks.ends is not None
    assert picks.spans is not None
    rows = [
        (int(shard), int(sample), int(start), int(stop))
        for shard, sample, (start, stop) in zip(picks.shards, picks.samples, picks.spans, strict=True)
    ]
    begins = [0, *picks.ends[:-1].tolist()]
    return [rows[begin:end] for begin, end in zip(begins, picks.ends.tolist(), strict=True)]


def source(lengths: list[int], shards: int) -> Simulated:
    return Simulated([len(part) for part in np.array_split(lengths, shards)], np.array(lengths))


def tokens(packed: Order, epoch: int = 0) -> set[tuple[int, int, int]]:
    """(shard, sample, token) of a whole epoch, none twice."""
    length = packed.length(epoch)
    assert length
    pieces = [piece for item in items(packed.picks(epoch, 0, length)) for piece in item]
    found = [(shard, sample, at) for shard, sample, start, stop in pieces for at in range(start, stop)]
    assert len(set(found)) == len(found)
    return set(found)


def all_tokens(data: Simulated) -> set[tuple[int, int, int]]:
    lengths = data.lengths("tokens")
    assert lengths is not None
    where = [(shard, sample) for shard, count in enumerate(data.counts.tolist()) for sample in range(count)]
    return {(*place, at) for place, length in zip(where, lengths.tolist(), strict=True) for at in range(length)}


def orders(data: Simulated, kind: int) -> Order:
    """By windows of a shuffled source, by shards, and by blocks of any order."""
    sequential = Sequential(data)
    mixed = Mix({"only": sequential}, weights={"only": 1}, epoch_size=sequential.length(0))
    return (Shuffled(data, seed=3, window_shards=2), sequential, mixed)[kind]


@given(DOCUMENTS, st.integers(1, 6), st.integers(1, 30), st.integers(0, 2), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_split_loses_no_token(lengths: list[int], shards: int, length: int, kind: int, cut: int) -> None:
    data = source(lengths, shards)
    packed = Packed(orders(data, kind), length=length)
    count = packed.length(1)
    assert count == -(-sum(lengths) // length)
    assert tokens(packed, 1) == all_tokens(data)
    whole = items(packed.picks(1, 0, count))
    sizes = [sum(stop - start for _, _, start, stop in item) for item in whole]
    assert sizes[:-1] == [length] * (count - 1)
    assert 1 <= sizes[-1] <= length
    again = Packed(orders(data, kind), length=length)
    cuts = [items(again.picks(1, at, min(at + cut, count))) for at in range(0, count, cut)]
    assert whole == [item for part in cuts for item in part]
    assert packed.picks(1, count, count).ends is not None


def test_split_keeps_the_order_of_documents() -> None:
    order = Shuffled(TEXT, seed=1, window_shards=4)
    packed = Packed(order, length=512)
    pieces = [piece for item in items(packed.picks(2, 0, 300)) for piece in item]
    documents = list(dict.fromkeys((shard, sample) for shard, sample, _, _ in pieces))
    below = order.picks(2, 0, len(documents))
    assert documents == list(zip(below.shards.tolist(), below.samples.tolist(), strict=True))


@given(DOCUMENTS, st.integers(1, 6), st.integers(1, 50), st.integers(0, 1), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_fit_cuts_only_what_is_too_long(lengths: list[int], shards: int, length: int, kind: int, cut: int) -> None:
    data = source(lengths, shards)
    packed = Packed(orders(data, kind), length=length, method="fit")
    assert packed.length(0) == packed.length(7)
    count = packed.length(1)
    assert tokens(packed, 1) == all_tokens(data)
    whole = items(packed.picks(1, 0, count))
    places = [(shard, sample) for shard, samples in enumerate(data.counts.tolist()) for sample in range(samples)]
    longest = dict(zip(places, lengths, strict=True))
    for item in whole:
        assert item
        assert sum(stop - start for _, _, start, stop in item) <= length
        for shard, sample, start, stop in item:
            if longest[shard, sample] <= length:
                assert (start, stop) == (0, longest[shard, sample])
    again = Packed(orders(data, kind), length=length, method="fit")
    cuts = [items(again.picks(1, at, min(at + cut, count))) for at in range(0, count, cut)]
    assert whole == [item for part in cuts for item in part]


@given(st.lists(st.integers(1, 30), max_size=200), st.integers(30, 64))
@settings(max_examples=150, deadline=None)
def test_best_fit_is_best_fit(sizes: list[int], capacity: int) -> None:
    """Against the textbook's loop over all items: the same free space in as many items."""
    free: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [space for space in free if space >= size]
        if fitting:
            free.remove(min(fitting))
            free.append(min(fitting) - size)
        else:
            free.append(capacity - size)
    placed = best_fit(np.sort(np.array(sizes, dtype=np.int64))[::-1], capacity)
    fill = np.bincount(placed, weights=np.sort(sizes)[::-1]) if sizes else np.empty(0)
    assert sorted((capacity - fill).tolist()) == sorted(free)


def test_utilisation() -> None:
    """Items of 2,048 for documents of 1 to 8,192 tokens: how full they are, and how many documents are cut."""
    order = Shuffled(TEXT, seed=1)
    assert Packed(order, length=2048).utilisation() > 0.9999
    assert Packed(order, length=2048, method="fit").utilisation() > 0.995
    alone = LENGTHS[LENGTHS <= 2048].mean() / 2048
    assert alone < 0.25  # one document an item


def test_fit_draws_other_neighbours_in_each_epoch() -> None:
    packed = Packed(Shuffled(TEXT, seed=1), length=2048, method="fit")
    sets = [
        {frozenset((shard, sample) for shard, sample, _, _ in item) for item in items(packed.picks(epoch, 0, 9000))}
        for epoch in range(2)
    ]
    assert len(sets[0] & sets[1]) < 0.25 * len(sets[0])  # long ones are alone, and few are of the same length


@pytest.mark.parametrize("method", ["split", "fit"])
@pytest.mark.parametrize("position", [0, 1, 555])
def test_shards_ahead(method: str, position: int) -> None:
    packed = Packed(Shuffled(TEXT, seed=1, window_shards=4), length=2048, method=method)  # type: ignore[arg-type]
    uses = list(islice(packed.uses(3, position), 300))
    assert [use[:2] for use in uses] == sorted(use[:2] for use in uses)
    for stop in range(position + 1, position + 400, 50):
        needed = set(packed.picks(3, position, stop).shards.tolist())
        assert needed <= {use.shard for use in uses if (use.epoch, use.position) < (3, stop)}
    if method == "split":
        for use in uses[:100]:
            assert use.shard in packed.picks(use.epoch, use.position, use.position + 1).shards


def test_joined_items_hold_the_documents_tokens() -> None:
    lengths = [3, 4, 2]
    packed = Packed(Sequential(source(lengths, 1)), length=5, pad=-1)
    documents = [{"tokens": np.arange(length, dtype=np.uint16) + 10 * number} for number, length in enumerate(lengths)]
    join = pickle.loads(pickle.dumps(packed.join))
    assert len(pickle.dumps(packed.join)) < 300
    joined = [
        join([(documents[sample], (start, stop)) for _, sample, start, stop in item])
        for item in items(packed.picks(0, 0, 2))
    ]
    assert [row["tokens"].tolist() for row in joined] == [[0, 1, 2, 10, 11], [12, 13, 20, 21, -1]]
    assert joined[0]["tokens"].dtype == np.int64  # what embeddings and losses take
    assert joined[0]["segments"].tolist() == [1, 1, 1, 2, 2]
    assert joined[0]["positions"].tolist() == [0, 1, 2, 0, 1]


def test_an_item_that_is_not_full_is_padded() -> None:
    packed = Packed(Sequential(source([3, 3], 1)), length=4, pad=-1)
    assert packed.join
    joined = packed.join([(np.array([7, 8, 9]), (1, 3))])
    assert {name: array.tolist() for name, array in joined.items()} == {
        "tokens": [8, 9, -1, -1],
        "segments": [1, 1, 0, 0],
        "positions": [0, 1, 0, 0],
    }
    with pytest.raises(CorruptError, match=r"tokens 1 to 5 of field 'tokens' were asked for; the sample has an array"):
        packed.join([({"tokens": np.arange(3)}, (1, 5))])


def test_the_cost_of_a_batch() -> None:
    """16 items of 2,048 tokens, some 66 documents, from 40,000: split 0.1 ms, fit 0.2 ms on an idle core."""
    for method, most in [("split", 1e-3), ("fit", 2e-3)]:
        packed = Packed(Shuffled(TEXT, seed=1), length=2048, method=method)  # type: ignore[arg-type]
        packed.picks(0, 0, 800)
        assert min(timed(packed, at) for at in range(0, 800, 16)) < most


def test_what_cannot_be() -> None:
    order = Shuffled(TEXT, seed=1)
    endless = Mix({"a": order}, weights={"a": 1})
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: Packed(order, length=0), "items of 0 tokens.*an item has at least one token"),
        (lambda: Packed(order, method="first"), "packed with method='first'"),  # type: ignore[arg-type]
        (lambda: Packed(Packed(order)), "they are packed already"),
        (lambda: Packed(endless), "packing of an order without an end was asked for.*epoch_size"),
        (lambda: Packed(endless, method="fit"), "of an order Mix was asked for.*Mix.*Packed"),
        (lambda: Packed(TEXT), "an order over Simulated was asked for"),  # type: ignore[arg-type]
        (lambda: Packed(order, lengths=np.zeros(40_000, dtype=np.int64)), "no sample has any"),
        (lambda: Packed(order).picks(0, 0, 10**9), "positions 0 to 1000000000 of an order were asked for"),
    ]
    for call, match in wrong:
        with pytest.raises(DataError, match=match):
            call()
    words = {Packed(order, length=size, method=way).fingerprint() for size in (512, 1024) for way in ("split", "fit")}
    assert len(words) == 4


def timed(packed: Packed, at: int) -> float:
    begin = time.perf_counter()
    picks = packed.picks(0, at, at + 16)
    end = time.perf_counter()
    sizes: Ints = np.asarray(picks.ends)
    assert len(sizes) == 16
    return end - begin
