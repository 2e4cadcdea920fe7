"""Do axes survive the way to numbers and back?"""

from __future__ import annotations

import math
import random

import pytest

from leyden.core.sweep_views import Value
from leyden.sweeps.coordinates import Coordinate, coordinates
from leyden.sweeps.domains import Choice, Integers
from leyden.sweeps.space import Axis, Space

SPACE = Space.parse(
    [
        *("--lr", "loguniform(1e-5, 1)", "--drop", "uniform(-2, 6)", "--noise", "normal(3, 0.5)"),
        *("--width", "[64, 16, 32]", "--opt", "[sgd, adam, lion]", "--one", "[7]"),
    ],
    rows=[{"a": "1", "b": "x"}, {"a": "2", "b": "y"}],
)
LR: dict[str, Value] = {"lr": 1e-5, "drop": 0.0, "noise": 3.0, "width": 16, "opt": "adam", "one": 7, "a": 2, "b": "y"}


def test_each_axis_by_hand() -> None:
    found = {one.name: one for one in coordinates(SPACE)}
    assert set(found) == {"lr", "drop", "noise", "width", "opt", "a, b"}, "what has one value is no coordinate"
    places = {name: one.of(LR) for name, one in found.items()}
    assert places == {"lr": math.log(1e-5), "drop": 0.0, "noise": 0.5, "width": 0, "opt": 1, "a, b": 1}
    bounds = {name: (one.low, one.high, one.count, one.ordered) for name, one in found.items()}
    assert bounds == {
        "lr": (math.log(1e-5), 0, None, True),
        "drop": (-2, 6, None, True),
        "noise": (0, 1, None, True),
        "width": (0, 2, 3, True),
        "opt": (0, 2, 3, False),
        "a, b": (0, 1, 2, False),
    }
    assert found["width"].params(2) == {"width": 64}, "numbers by their size"
    assert found["a, b"].params(0) == {"a": 1, "b": "x"}
    assert found["noise"].params(NORMAL_84) == {"noise": pytest.approx(3.5, abs=1e-3)}


NORMAL_84 = 0.8413447  # of a normal distribution lie below one standard deviation


def test_logarithmic_integers_own_what_rounds_to_them() -> None:
    one = Coordinate(Axis(names=("k",), domain=Integers(low=1, high=8, log=True)))
    assert (one.low, one.high, one.count) == (math.log(0.5), math.log(8.5), None)
    assert [one.params(place) for place in (one.low, math.log(2.4), one.high)] == [{"k": 1}, {"k": 2}, {"k": 8}]


def test_there_and_back() -> None:
    space = Space.parse(
        [
            *("--lr", "loguniform(1e-5, 1)", "--n", "normal(0, 2)", "--layers", "range(2, 20, 3)"),
            *("--k", "randint(1, 9)", "--opt", "[sgd, true, 1]", "--steps", "logspace(0, 3, 4)"),
        ]
    )
    rng = random.Random(0)
    for _ in range(200):
        params = space.sample(rng)
        back: dict[str, Value] = {}
        for one in coordinates(space):
            place = one.of(params)
            assert place is not None
            assert one.low <= place <= one.high
            back |= one.params(place)
        assert back == {name: pytest.approx(value) if type(value) is float else value for name, value in params.items()}


def test_every_place_is_a_value_of_the_space() -> None:
    rng = random.Random(0)
    for one in coordinates(SPACE):
        for place in (one.low, one.high, rng.uniform(one.low, one.high)):
            assert one.of(one.params(place)) is not None


def test_values_of_another_space_lie_nowhere() -> None:
    lr = coordinates(SPACE)[1]
    assert (lr.name, lr.of({"lr": 5.0}), lr.of({"lr": "a"}), lr.of({})) == ("lr", None, None, None)


def test_very_many_categories_are_an_order() -> None:
    """TPE's memory grows as trials times categories."""
    (many,) = coordinates(Space.parse([], rows=[{"file": f"f{number}.pt"} for number in range(257)]))
    (few,) = coordinates(Space.parse([], rows=[{"file": f"f{number}.pt"} for number in range(256)]))
    assert (many.ordered, few.ordered) == (True, False)
    assert not Coordinate(Axis(names=("amp",), domain=Choice(values=(True, False)))).ordered
