"""Is it found which parameter matters?"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import pytest

from leyden.core.errors import SpecError
from leyden.core.sweep_views import Value
from leyden.sweeps.importance import importance
from leyden.sweeps.space import Space
from leyden.sweeps.state import Standing, Trial

Loss = Callable[[Mapping[str, Value]], float]


def tried(space: Space, loss: Loss, *, count: int = 60) -> list[Trial]:
    rng = random.Random(0)
    points = [space.sample(rng) for _ in range(count)]
    return [
        Trial(number=number, params=params, standing=Standing.DONE, final=(loss(params),))
        for number, params in enumerate(points)
    ]


def number(params: Mapping[str, Value], name: str) -> float:
    return float(params[name])


def test_all_of_it_is_one_parameter_s() -> None:
    space = Space.parse(["--x", "uniform(0, 1)", "--z", "uniform(0, 1)", "--fixed", "[3]"])
    trials = tried(space, lambda params: 10 * number(params, "x") + 0 * number(params, "z"))
    shares = importance(space, trials)
    assert list(shares) == ["x", "z"], "the largest first; what does not vary has none"
    assert shares["x"] > 0.9
    assert shares["z"] < 0.05
    assert importance(space, trials[::-1]) == shares, "seeded"


def test_categories_and_columns_that_vary_together() -> None:
    space = Space.parse(
        ["--opt", "[sgd, adam]", "--z", "uniform(0, 1)"], rows=[{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    )
    shares = importance(space, tried(space, lambda params: 3.0 * (params["opt"] == "sgd") + number(params, "a")))
    assert list(shares) == ["opt", "a, b", "z"]
    assert shares["opt"] == pytest.approx(9 / 13, abs=0.1), "variances of 9/4 and 4/4"
    assert shares["a, b"] == pytest.approx(4 / 13, abs=0.1)


def test_a_logarithmic_scale_is_kept() -> None:
    """The loss falls over the whole of lr's decades, as much as z's: half of the variance each."""
    space = Space.parse(["--lr", "loguniform(1e-6, 1)", "--z", "uniform(0, 6)"])
    trials = tried(space, lambda params: math.log10(number(params, "lr")) + number(params, "z"), count=100)
    shares = importance(space, trials)
    assert shares["lr"] == pytest.approx(0.5, abs=0.12)
    assert shares["z"] == pytest.approx(0.5, abs=0.12)


def test_too_little_to_say() -> None:
    space = Space.parse(["--x", "uniform(0, 1)", "--z", "uniform(0, 1)"])
    assert importance(space, tried(space, lambda params: number(params, "x"), count=3)) == {}
    assert importance(space, tried(space, lambda params: 1.0)) == {}
    assert importance(Space.parse(["--x", "1"]), tried(space, lambda params: number(params, "x"))) == {}
    failed = [Trial(number=at, params={"x": 0.1 * at, "z": 0.1}, standing=Standing.FAILED) for at in range(9)]
    assert importance(space, failed) == {}


def test_scikit_learn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space.parse(["--x", "uniform(0, 1)"])
    trials = tried(space, lambda params: number(params, "x"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sklearn" else True)
    with pytest.raises(SpecError, match="has no sklearn"):
        importance(space, trials)
