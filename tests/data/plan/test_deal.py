"""Does every rank get as many batches, every sample come once, whatever the number of ranks, from any position on?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import DataError
from leyden.data.plan.deal import Deal, Part


def parts(length: int, position: int, deal: Deal) -> list[list[Part]]:
    """Batches from there on: [batches][ranks]."""
    found: list[list[Part]] = []
    while True:
        ranks = [
            Deal(batch_size=deal.batch_size, rank=rank, size=deal.size, drop_last=deal.drop_last).part(length, position)
            for rank in range(deal.size)
        ]
        if None in ranks:
            assert set(ranks) == {None}, "all ranks end together"
            return found
        found.append([part for part in ranks if part])
        position = found[-1][0].after


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_each_sample_once_and_as_many_batches_on_each_rank(length: int, batch_size: int, size: int) -> None:
    deal = Deal(batch_size=batch_size, size=size)
    if length < size:
        with pytest.raises(DataError, match=f"the epoch has {length} samples, and each rank needs at least one"):
            deal.part(length, 0)
        return
    dealt = parts(length, 0, deal)
    assert [at for batch in dealt for part in batch for at in range(part.start, part.stop)] == list(range(length))
    assert deal.batches(length, 0) == len(dealt)
    for batch in dealt:
        sizes = [part.stop - part.start for part in batch]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= deal.most
        assert len({part.after for part in batch}) == 1
    for batch in dealt[:-1]:
        assert length - batch[0].after >= batch_size * size / 2, "other ranks can go on"
    if batch_size > 1:
        assert len(dealt) == -(-length // (batch_size * size)), "as many as torch counts"
        assert deal.most == batch_size


@given(st.integers(8, 400), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 5))), st.data())
@settings(max_examples=300, deadline=None)
def test_ranks_and_batch_size_may_change_at_any_batch(
    length: int, changes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """So many batches with each (batch size, ranks); then the rest on as many ranks as there are samples for."""
    seen: list[int] = []
    position = 0
    for batch_size, size, batches in changes:
        if 0 < length - position < size:
            with pytest.raises(DataError, match=f"{length - position} samples of the epoch are left at position"):
                Deal(batch_size=batch_size, size=size).batches(length, position)
            continue
        for batch in parts(length, position, Deal(batch_size=batch_size, size=size))[:batches]:
            seen += [at for part in batch for at in range(part.start, part.stop)]
            position = batch[0].after
    for batch in parts(length, position, Deal(batch_size=3, size=max(min(3, length - position), 1))):
        seen += [at for part in batch for at in range(part.start, part.stop)]
    assert seen == list(range(length))


def test_the_rest_is_dealt_without_padding_or_a_larger_or_a_tiny_batch() -> None:
    """4 ranks, batches of 8: 66 = 32 + 17 + 17, not 32 + 32 + 2."""

    def sizes(length: int, deal: Deal) -> list[list[int]]:
        return [[part.stop - part.start for part in batch] for batch in parts(length, 0, deal)]

    deal = Deal(batch_size=8, size=4)
    assert sizes(66, deal) == [[8, 8, 8, 8], [4, 4, 4, 5], [4, 4, 4, 5]]
    assert sizes(95, deal)[1:] == [[8, 8, 8, 8], [7, 8, 8, 8]]
    assert sizes(96, deal)[1:] == [[8, 8, 8, 8], [8, 8, 8, 8]]
    assert sizes(9, deal) == [[2, 2, 2, 3]]
    assert sizes(104, Deal(batch_size=32)) == [[32], [32], [20], [20]]
    ones = Deal(batch_size=1, size=4)
    assert sizes(11, ones) == [[1, 1, 1, 1], [1, 2, 2, 2]]
    assert ones.most == 2


def test_dropping_the_rest() -> None:
    deal = Deal(batch_size=8, size=4, drop_last=True)
    assert len(parts(70, 0, deal)) == deal.batches(70, 0) == 2
    assert deal.batches(70, 64) == 0
    assert deal.part(70, 64) is None
    with pytest.raises(DataError, match=r"the epoch has 31 samples, and a global batch takes 32 with drop_last\. Use"):
        deal.part(31, 0)


def test_an_order_without_an_end_has_no_rest() -> None:
    deal = Deal(batch_size=4, rank=1, size=2)
    assert deal.batches(None, 10**15) is None
    assert deal.part(None, 10**15) == Part(10**15 + 4, 10**15 + 8, 10**15 + 8)


def test_nothing_is_left_at_the_end() -> None:
    assert Deal(batch_size=4, size=2).part(16, 16) is None
    assert Deal(batch_size=4, size=2).batches(16, 16) == 0


@pytest.mark.parametrize(("batch_size", "rank", "size"), [(0, 0, 1), (1, 2, 2), (1, -1, 2)])
def test_impossible_deals(batch_size: int, rank: int, size: int) -> None:
    with pytest.raises(DataError, match="Give batch_size >= 1"):
        Deal(batch_size=batch_size, rank=rank, size=size)
