"""Does a place survive being written down, and is a wrong one refused with its reason?"""

from __future__ import annotations

import json

import pytest

from leyden.data.errors import DataError
from leyden.data.plan.order import Sequential, Shuffled
from leyden.data.plan.place import Place
from tests.data.plan.simulated import Simulated

SOURCE = Simulated([10, 10, 5])
ORDER = Shuffled(SOURCE, seed=3, window_shards=2)


def test_a_few_integers() -> None:
    place = Place.of(ORDER, seed=3, epoch=2, position=10**15)
    state = json.loads(json.dumps(place.to_dict()))
    assert set(state) == {"version", "seed", "epoch", "position", "fingerprint"}
    assert all(type(value) is int for value in state.values())
    again = Shuffled(Simulated([10, 10, 5]), seed=3, window_shards=2)
    assert Place.from_dict(state, again, seed=3) == place


@pytest.mark.parametrize(
    "other",
    [
        Shuffled(Simulated([10, 10, 6]), seed=3, window_shards=2),
        Shuffled(SOURCE, seed=4, window_shards=2),
        Shuffled(SOURCE, seed=3, window_shards=1),
        Sequential(SOURCE),
    ],
)
def test_another_order(other: Shuffled | Sequential) -> None:
    state = Place.of(ORDER, seed=3, epoch=0, position=5).to_dict()
    with pytest.raises(DataError, match=r"it belongs to another order than S.*Give the same data, shuffling"):
        Place.from_dict(state, other, seed=3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 4}, r"it was written with seed 4, this loader has 3\. Use seed=4"),
        ({"version": 2}, r"the state is of version 2, this Leyden writes 1\. Use the Leyden that wrote it"),
        ({"version": None}, "the state is of version None"),
        ({"epoch": "x"}, r"the state is not a loader's .*Give what state_dict\(\) returned"),
    ],
)
def test_states_that_are_none_of_ours(change: dict[str, object], match: str) -> None:
    state = Place.of(ORDER, seed=3, epoch=0, position=5).to_dict() | change
    with pytest.raises(DataError, match=match):
        Place.from_dict(state, ORDER, seed=3)
    with pytest.raises(DataError, match="the state is not a loader's"):
        Place.from_dict({"version": 1}, ORDER, seed=3)
