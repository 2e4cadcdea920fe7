"""Is it a permutation, for any size, and does it look like a random one?"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.data.errors import DataError
from leyden.data.plan.keys import digest
from leyden.data.plan.permutation import LIMIT, TABLE, Permutation


@given(st.integers(0, 3 * TABLE), st.integers())
@settings(max_examples=60, deadline=None)
def test_every_number_once_and_back(n: int, seed: int) -> None:
    shuffled = Permutation(n, digest(seed))
    numbers = np.arange(n)
    assert np.array_equal(np.sort(shuffled(numbers)), numbers)
    assert np.array_equal(shuffled.inverse(shuffled(numbers)), numbers)


@given(st.integers(TABLE + 1, LIMIT), st.integers(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_large_ones_stay_inside_and_come_back(n: int, seed: int, places: list[float]) -> None:
    shuffled = Permutation(n, digest(seed))
    numbers = np.array([min(int(place * n), n - 1) for place in places], dtype=np.int64)
    out = shuffled(numbers)
    assert ((out >= 0) & (out < n)).all()
    assert np.array_equal(shuffled.inverse(out), numbers)
    assert np.array_equal(shuffled(numbers[:1]), out[:1]), "each number alone goes where it goes with others"


def test_the_same_on_every_machine_and_in_every_version() -> None:
    """Figures written down: a changed permutation would break every resume."""
    assert Permutation(7, digest("a", 1))(np.arange(7)).tolist() == [4, 0, 1, 6, 3, 2, 5]
    assert Permutation(2**62, digest("a", 1))(np.arange(2)).tolist() == [2261094796859120009, 1354673540974743634]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_small_ones_are_all_as_likely(n: int) -> None:
    """Chi-square over all n! permutations, 100 draws for each: within 4.5 standard deviations of its mean."""
    places = {order: number for number, order in enumerate(permutations(range(n)))}
    keys = 100 * len(places)
    seen = [places[tuple(Permutation(n, digest(n, key))(np.arange(n)).tolist())] for key in range(keys)]
    assert_even(np.bincount(seen, minlength=len(places)))


@pytest.mark.parametrize("n", [10, TABLE, TABLE + 1, 10_007, 2**20, 10**9 + 7, 10**18])
def test_positions_are_uniform_over_keys_and_numbers(n: int) -> None:
    """Where one number goes under 3,000 keys, and where neighbours are under one key, in 10 bins."""
    numbers = np.array([0, 1, n // 2, n - 1])
    keys = 300 if n == TABLE else 3000
    places = np.array([Permutation(n, digest("bins", key))(numbers) for key in range(keys)])
    for column in places.T:
        assert_even(np.bincount(bins(column, n), minlength=10))
    pairs = bins(places[:, 0], n) * 10 + bins(places[:, 1], n)
    if n > TABLE:  # two numbers of a small range are not independent: they never meet
        assert_even(np.bincount(pairs, minlength=100))


@pytest.mark.parametrize("n", [TABLE + 1, 10_007, 2**20])
def test_neighbours_are_as_far_apart_as_in_a_random_one(n: int) -> None:
    """The mean distance of neighbours is n / 3, one number in n stays (Poisson), ascents are half."""
    moved = Permutation(n, digest("whole"))(np.arange(n))
    steps = np.diff(moved)
    assert abs(np.abs(steps).mean() / (n / 3) - 1) < 4 / np.sqrt(n)
    assert (moved == np.arange(n)).sum() <= 6
    assert abs((steps > 0).mean() - 0.5) < 2 / np.sqrt(n)
    assert abs(np.corrcoef(moved, np.arange(n))[0, 1]) < 4 / np.sqrt(n)


def test_too_many() -> None:
    with pytest.raises(DataError, match=f"a permutation of {LIMIT + 1} numbers was asked for; it can have 0 to"):
        Permutation(LIMIT + 1, digest(0))


def bins(numbers: np.ndarray, n: int) -> np.ndarray:
    return np.minimum((numbers / n * 10).astype(np.int64), 9)


def assert_even(counts: np.ndarray) -> None:
    """Pearson's chi-square has mean k and variance 2 k for k degrees of freedom."""
    freedom, mean = len(counts) - 1, counts.mean()
    chi = ((counts - mean) ** 2 / mean).sum()
    assert abs(chi - freedom) < 4.5 * np.sqrt(2 * freedom) + 3, counts
