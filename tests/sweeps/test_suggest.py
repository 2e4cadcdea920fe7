"""Are suggestions good, repeatable, and never the same twice where they need not be?"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from leyden.core.errors import SpecError
from leyden.core.sweep import make_sweep
from leyden.core.sweep_views import Value
from leyden.sweeps.space import Space
from leyden.sweeps.state import Standing, Trial
from leyden.sweeps.suggest import Suggester, outcome

SPACE = Space.parse(["--lr", "loguniform(1e-5, 1)", "--width", "[16, 32, 64, 128]", "--opt", "[sgd, adam, lion]"])
GRID = Space.parse(["--a", "range(100)", "--b", "[x, y, z]"])


def suggester(
    kind: str, *, space: Space = SPACE, seed: int = 0, asked: int | None = 60, metric: str = "l"
) -> Suggester:
    return Suggester(space, make_sweep({"strategy": "random", "metric": metric, "seed": seed}), kind, asked)


def loss(params: Mapping[str, Value]) -> float:
    """Best, 0, at lr = 1e-3, width = 64, adam."""
    lr, width = float(params["lr"]), float(params["width"])
    return (math.log10(lr) + 3) ** 2 + abs(math.log2(width) - 6) / 2 + (params["opt"] != "adam")


def done(number: int, params: Mapping[str, Value], *final: float) -> Trial:
    return Trial(number=number, params=params, standing=Standing.DONE, final=final)


def searched(asking: Suggester, count: int) -> list[Trial]:
    trials: list[Trial] = []
    for number in range(count):
        params = asking.ask(number, trials)
        trials.append(done(number, params, loss(params)))
    return trials


def random_trials(count: int) -> list[Trial]:
    rng = random.Random(5)
    points = [SPACE.sample(rng) for _ in range(count)]
    return [done(number, params, loss(params)) for number, params in enumerate(points)]


@pytest.mark.parametrize("kind", ["random", "tpe", "cmaes", "gp"])
def test_a_restarted_server_suggests_the_same(kind: str) -> None:
    """Whatever was asked before, in whatever order trials stand, and whether or not they are all known at once."""
    trials = random_trials(30)
    trials[28:] = [replace(trial, standing=Standing.GOING, final=None) for trial in trials[28:]]
    old = suggester(kind)
    for number in (12, 20):
        old.ask(number, [replace(trial, standing=Standing.GOING, final=None) for trial in trials[:number]])
        old.ask(number, trials[:number])
    first = old.ask(30, trials)
    assert suggester(kind).ask(30, trials[::-1]) == first
    assert old.ask(30, [*trials, Trial(number=30, params=first)]) == first, "it is not one of those before it"
    assert suggester(kind, seed=1).ask(30, trials) != first
    assert old.ask(31, trials) != first
    assert set(first) == {"lr", "width", "opt"}


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "gp"])
def test_models_find_what_chance_does_not(kind: str) -> None:
    count = 25 if kind == "gp" else 60
    last = searched(suggester(kind), count)[-10:]
    chance = random_trials(200)
    median = sorted(trial.final[0] for trial in last if trial.final)[5]
    assert median < sorted(trial.final[0] for trial in chance if trial.final)[60], "better than the best third"


def test_tpe_goes_where_nothing_trains_yet() -> None:
    """With twenty that train where it would look, it looks elsewhere."""
    trials, asking = random_trials(40), suggester("tpe")
    for number in range(40, 45):
        alone = asking.ask(number, trials)
        there = [Trial(number=100 + at, params=alone) for at in range(20)]
        beside = asking.ask(number, trials + there)
        assert abs(math.log10(float(beside["lr"]) / float(alone["lr"]))) > 0.05


def test_a_failed_trial_is_no_bad_score() -> None:
    """Crashes where values are best change nothing; a bad score there does."""
    trials = random_trials(30)
    best = sorted(trials, key=lambda trial: trial.final or ())[:5]
    crashed = [Trial(number=30 + at, params=one.params, standing=Standing.FAILED) for at, one in enumerate(best)]
    bad = [done(30 + at, one.params, 99.0) for at, one in enumerate(best)]
    expected = suggester("tpe").ask(40, trials)
    assert suggester("tpe").ask(40, trials + crashed) == expected
    assert suggester("tpe").ask(40, trials + bad) != expected


def test_the_last_measured_value_counts() -> None:
    one = Trial(number=0, params={}, scores=(0.5, 0.4))
    assert outcome(one, 1) == (0.4,)
    assert outcome(replace(one, standing=Standing.DROPPED), 1) == (0.4,)
    assert outcome(replace(one, standing=Standing.DONE, final=(0.3,)), 1) == (0.3,)
    assert outcome(replace(one, standing=Standing.FAILED), 1) is None
    assert outcome(Trial(number=0, params={}), 1) == ()
    assert outcome(Trial(number=0, params={}, standing=Standing.DROPPED), 1) is None
    moved = [replace(trial, scores=(9.0, *(trial.final or ())), final=None) for trial in random_trials(30)]
    assert suggester("tpe").ask(30, moved) == suggester("tpe").ask(30, random_trials(30))


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_measured_again_is_told_again(kind: str) -> None:
    asking, trials = suggester(kind), random_trials(30)
    before = asking.ask(30, trials)
    worse = [replace(trial, final=(-trial.final[0],)) for trial in trials if trial.final]
    assert asking.ask(30, worse) == suggester(kind).ask(30, worse) != before


def test_several_metrics() -> None:
    """Two that want opposite rates: both ends of the front are tried, what is between counts less."""
    trials: list[Trial] = []
    asking = suggester("tpe", metric="l,m")
    for number in range(60):
        params = asking.ask(number, trials)
        rate = math.log10(float(params["lr"]))
        wrong = float(params["opt"] != "adam")
        trials.append(done(number, params, abs(rate + 4) + wrong, abs(rate + 2) + wrong))
    last = [trial.params for trial in trials[30:]]
    assert sum(params["opt"] == "adam" for params in last) > 15
    assert sum(1e-4 / 3 < float(params["lr"]) < 3e-2 for params in last) > 20


@pytest.mark.parametrize("kind", ["tpe", "gp", "cmaes"])
def test_infinite_values_do_no_harm(kind: str) -> None:
    trials = random_trials(30)
    trials[3], trials[5] = done(3, trials[3].params, math.inf), done(5, trials[5].params, -math.inf)
    assert set(suggester(kind).ask(30, trials)) == {"lr", "width", "opt"}
    all_bad = [done(trial.number, trial.params, math.inf) for trial in trials]
    assert set(suggester(kind).ask(30, all_bad)) == {"lr", "width", "opt"}


def test_the_first_of_a_model_are_those_of_chance() -> None:
    asking = suggester("tpe")
    trials = searched(asking, 12)
    assert [trial.params for trial in trials[:10]] == [suggester("random").ask(one, []) for one in range(10)]
    assert trials[11].params != suggester("random").ask(11, [])


def test_cmaes_waits_for_a_generation_and_counts_failed_ones() -> None:
    """Two ordered coordinates: generations of 6 (4 + ⌊3 ln 2⌋)."""
    trials = searched(suggester("cmaes"), 12)
    known, start = suggester("cmaes").ask(12, trials[:6]), suggester("cmaes").ask(12, [])
    assert known["lr"] != start["lr"]
    assert suggester("cmaes").ask(12, trials[:5]) == start, "the generation is not complete"
    assert suggester("cmaes").ask(12, [*trials[:5], Trial(number=5, params=trials[5].params)]) == start
    crashed = Trial(number=5, params=trials[5].params, standing=Standing.FAILED)
    worst = done(5, trials[5].params, 1e9)
    assert (
        suggester("cmaes").ask(12, [*trials[:5], crashed]) == suggester("cmaes").ask(12, [*trials[:5], worst]) != start
    )
    assert suggester("cmaes").ask(12, trials[6:]) != start, "a later one may be told before an earlier one"


def test_a_grid_goes_point_by_point_and_ends() -> None:
    asking = suggester("grid", space=GRID)
    assert [asking.ask(number, []) for number in (0, 1, 299)] == [GRID.point(number) for number in (0, 1, 299)]
    with pytest.raises(SpecError, match="300 points"):
        asking.ask(300, [])


@pytest.mark.parametrize("asked", [None, 100, 200, 300, 400])
def test_a_finite_space_is_drawn_without_repetition(asked: int | None) -> None:
    asking = suggester("random", space=GRID, asked=asked)
    trials: list[Trial] = []
    for number in range(asked or 300):
        trials.append(Trial(number=number, params=asking.ask(number, trials)))
    points = [tuple(trial.params.values()) for trial in trials]
    assert len(set(points[:300])) == min(300, len(points))
    assert points[:100] != [tuple(GRID.point(number).values()) for number in range(100)]


def test_half_of_a_space_or_more_is_shuffled() -> None:
    """Known from the numbers alone."""
    asking = suggester("random", space=GRID, asked=150)
    assert len({tuple(asking.ask(number, []).values()) for number in range(300)}) == 300


def test_a_space_without_parameters() -> None:
    empty = Space.parse(["--epochs", "3"])
    assert suggester("tpe", space=empty).ask(3, [done(0, {}, 0.1)]) == {}
    assert suggester("random", space=empty).ask(3, [done(0, {}, 0.1)]) == {}
    words = Space.parse(["--opt", "[sgd, adam]"])
    assert suggester("cmaes", space=words).ask(3, [])["opt"] in {"sgd", "adam"}


def test_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="CMA-ES improves one"):
        suggester("cmaes", metric="l,m")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else True)
    with pytest.raises(SpecError, match="the server has no torch"):
        suggester("gp")
    suggester("tpe")


def test_nobody_hears_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    suggester("tpe").ask(30, random_trials(30))
    assert (root.level, list(root.handlers)) == before
    assert logging.getLogger("optuna").getEffectiveLevel() == logging.ERROR, "it tells of each study otherwise"
    assert capfd.readouterr() == ("", "")
