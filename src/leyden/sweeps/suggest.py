"""Which values does the next trial of a sweep get?"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from leyden.core.errors import SpecError
from leyden.core.sweep import Sweep
from leyden.core.sweep_views import Value
from leyden.sweeps.coordinates import coordinates
from leyden.sweeps.space import Space
from leyden.sweeps.state import Standing, Trial

if TYPE_CHECKING:
    from leyden.sweeps.evolution import Evolution
    from leyden.sweeps.studies import Study

KINDS = ("grid", "random", "tpe", "cmaes", "gp")
_STARTUP = 10  # so many trials have values before TPE and GP begin, as in Optuna
_NEEDS = {"tpe": ("optuna",), "cmaes": ("cmaes",), "gp": ("optuna", "torch", "scipy")}


@final
class Suggester:
    """Values for trials: the same for the same seed, number and trials, also after a restart of the server.

    - grid: point `number` of the space.
    - random: drawn from the space, without repetition as long as a finite one has points left. Where at least half of
      them will be tried (`asked` trials), they are shuffled, which makes them equally likely.
    - tpe, gp: random at first, then Optuna's models. Trials that were measured count with their last value, those that
      train with none; failed ones not at all, as a crash is no bad score.
    - cmaes: CMA-ES over what is ordered; categories are drawn at random.
    """

    def __init__(self, space: Space, sweep: Sweep, kind: str, asked: int | None) -> None:
        if kind == "cmaes" and len(sweep.metric) > 1:
            raise SpecError(
                asked=f"strategy cmaes with {len(sweep.metric)} metrics",
                found="CMA-ES improves one",
                do="Give one metric, or use --strategy tpe.",
            )
        missing = [name for name in _NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
        if missing:
            raise SpecError(
                asked=f"values chosen by {kind}",
                found=f"the server has no {' and no '.join(missing)}",
                do=f"Install there: pip install {' '.join(missing)}; or use random.",
            )
        self._space, self._kind, self._asked, self._seed = space, kind, asked, sweep.seed
        self._metrics = max(1, len(sweep.metric))
        self._coordinates = [one for one in coordinates(space) if one.ordered or kind != "cmaes"]
        self._places: dict[int, tuple[float, ...] | None] = {}
        self._points: dict[int, tuple[Value, ...]] = {}
        self._order: list[int] = []
        self._study: Study | None = None
        self._evolution: Evolution | None = None

    def ask(self, number: int, trials: Sequence[Trial]) -> dict[str, Value]:
        """Values for the trial of that number, given all others, in any order. A grid raises SpecError at its end."""
        if self._kind == "grid":
            return self._point(number)
        rng = random.Random(f"{self._seed}/{number}")
        if self._kind == "random":
            return self._at_random(number, trials, rng)
        params, seed = self._space.sample(rng), rng.getrandbits(31)
        if not self._coordinates:
            return params
        others = [trial for trial in trials if trial.number != number]
        places = self._evolved(others, seed) if self._kind == "cmaes" else self._modelled(number, others, seed)
        for one, place in zip(self._coordinates, places, strict=False):
            params |= one.params(place)
        return params

    def _point(self, number: int) -> dict[str, Value]:
        if (size := self._space.size) is not None and number >= size:
            raise SpecError(
                asked=f"trial {number} of a grid", found=f"it has {size} points", do=f"Ask for {size} trials at most."
            )
        return self._space.point(number)

    def _at_random(self, number: int, trials: Sequence[Trial], rng: random.Random) -> dict[str, Value]:
        size = self._space.size
        if size is None:
            return self._space.sample(rng)
        if self._asked is not None and size <= 2 * self._asked:
            if not self._order:
                self._order = random.Random(self._seed).sample(range(size), size)
            return self._space.point(self._order[number % size])
        used = {self._used(trial) for trial in trials if trial.number != number}
        for _ in range(100):
            params = self._space.sample(rng)
            if tuple(params.values()) not in used:
                return params
        while tuple(params.values()) in used and len(used) < size:  # a few points are likelier than all others
            params = self._space.point(rng.randrange(size))
        return params

    def _used(self, trial: Trial) -> tuple[Value, ...]:
        if trial.number not in self._points:
            self._points[trial.number] = tuple(trial.params[name] for name in self._space.names if name in trial.params)
        return self._points[trial.number]

    def _modelled(self, number: int, others: Sequence[Trial], seed: int) -> tuple[float, ...]:
        """Where TPE or GP looks; () before they can."""
        seen = {
            trial.number: (places, values)
            for trial in others
            if (values := outcome(trial, self._metrics)) is not None and (places := self._placed(trial)) is not None
        }
        if sum(bool(values) for _, values in seen.values()) < _STARTUP:
            return ()
        if self._study is None:
            from leyden.sweeps.studies import Study  # Optuna: 0.6 s that random and grid need not cost

            self._study = Study(self._coordinates, self._metrics)
        return (self._study.gp if self._kind == "gp" else self._study.tpe)(seen, number=number, seed=seed)

    def _evolved(self, others: Sequence[Trial], seed: int) -> tuple[float, ...]:
        known = {
            trial.number: (places, values[0] if values else None)
            for trial in others
            if (values := outcome(trial, 1)) != () and (places := self._placed(trial)) is not None
        }
        if self._evolution is None:
            from leyden.sweeps.evolution import Evolution  # numpy, as above

            self._evolution = Evolution(self._coordinates, seed=self._seed)
        return self._evolution.ask(known, seed=seed)

    def _placed(self, trial: Trial) -> tuple[float, ...] | None:
        """Where a trial lies; None where its values are none of the space."""
        if trial.number not in self._places:
            places = [one.of(trial.params) for one in self._coordinates]
            self._places[trial.number] = None if None in places else tuple(one for one in places if one is not None)
        return self._places[trial.number]


def outcome(trial: Trial, metrics: int) -> tuple[float, ...] | None:
    """Its final values, else its last; () while it has none and may still get some; None if it never will.

    A failed one has none, even if it was measured before.
    """
    if trial.standing is Standing.FAILED:
        return None
    values = trial.scores[-1:] if trial.final is None else trial.final
    if len(values) == metrics:
        return tuple(values)
    return () if trial.standing in {Standing.GOING, Standing.PAUSED} else None
