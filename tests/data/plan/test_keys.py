"""Do random numbers belong to the sample, and are they as good as any?"""

from __future__ import annotations

import random

import numpy as np
import torch

from leyden.data.plan.keys import Rng, digest


def test_numbers_belong_to_the_place_not_to_what_was_drawn_before() -> None:
    rng, other = Rng(3), Rng(3)
    expected = {(epoch, at): rng.at(epoch, at).random(5).tolist() for epoch in range(3) for at in range(4)}
    for (epoch, at), numbers in reversed(expected.items()):
        other.at(epoch, at + 1).integers(10, size=3, dtype=np.uint32)  # leaves half a word and a part of a block behind
        other.word(epoch, at)
        assert other.at(epoch, at).random(5).tolist() == numbers
    assert len({tuple(numbers) for numbers in expected.values()}) == 12


def test_other_places_seeds_and_uses_have_other_numbers() -> None:
    places = [(0, 0), (0, 1), (1, 0), (10**6, 10**18)]
    words = [Rng(seed).word(*place) for seed in (0, 1, 2**200, -1) for place in places]
    words += [int(Rng(0).at(*place).integers(2**64, dtype=np.uint64)) for place in places]
    assert len(set(words)) == 20
    assert all(0 <= word < 2**64 for word in words)


def test_global_generators_are_those_of_the_sample() -> None:
    rng = Rng(3)

    def draw(position: int) -> tuple[float, float, float]:
        rng.seed_globals(1, position)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    first, other = draw(5), draw(6)
    assert draw(5) == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_the_same_on_every_machine_and_in_every_version() -> None:
    assert Rng(7).word(1, 2) == 4485391773128734927
    assert digest("a", 1).hex()[:16] == "b62ad239ba42f67c"


def test_first_numbers_of_neighbours_are_independent() -> None:
    """Mean, variance and the correlation of neighbours over 20,000 samples, within 4.5 standard errors."""
    rng = Rng(0)
    first = np.array([rng.at(0, position).random() for position in range(20_000)])
    error = 1 / np.sqrt(len(first))
    assert abs(first.mean() - 0.5) < 4.5 * np.sqrt(1 / 12) * error
    assert abs(first.var() - 1 / 12) < 4.5 * np.sqrt(1 / 180) * error
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4.5 * error
