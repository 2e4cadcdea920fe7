"""How are trials told to Optuna? This file imports it, so nobody imports this file before a model is needed."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from leyden.sweeps.coordinates import Coordinate

optuna.logging.set_verbosity(optuna.logging.ERROR)  # its own logger alone

Places = tuple[float, ...]  # one for each coordinate
Values = tuple[float, ...]  # one for each metric, less is better; () while nobody knows
Seen = Mapping[int, tuple[Places, Values]]  # by the trial's number


@final
class Study:
    """Trials as Optuna sees them. Each is translated once, and again when its values have changed.

    Optuna's samplers get them through a storage that holds nothing else, in the order of their numbers. So what they
    answer depends on these trials and the seed alone, not on what was asked before.
    """

    def __init__(self, coordinates: Sequence[Coordinate], metrics: int) -> None:
        self._distributions = {str(at): _distribution(one) for at, one in enumerate(coordinates)}
        self._metrics = metrics
        self._known: dict[int, tuple[Values, FrozenTrial]] = {}

    def tpe(self, seen: Seen, *, number: int, seed: int) -> Places:
        """Tree-structured Parzen estimators (Bergstra et al. 2011; Watanabe 2023).

        With one metric they are multivariate. Trials without values count as bad, so that no two go the same way.
        """
        return self._ask(TPESampler(seed=seed, n_startup_trials=0), seen, number, joint=self._metrics == 1)

    def gp(self, seen: Seen, *, number: int, seed: int) -> Places:
        """A Gaussian process with logEI, or logEHVI for several metrics (Ament et al. 2023)."""
        return self._ask(GPSampler(seed=seed, n_startup_trials=0), seen, number, joint=True)

    def fanova(self, seen: Seen, *, seed: int) -> list[float]:
        """The share of the variance of the first metric that each coordinate explains by itself."""
        found = FanovaImportanceEvaluator(seed=seed).evaluate(self._study(seen), target=lambda one: one.values[0])
        return [float(found.get(name, 0.0)) for name in self._distributions]

    def _ask(self, sampler: BaseSampler, seen: Seen, number: int, *, joint: bool) -> Places:
        study = self._study(seen)
        asking = _frozen(number, TrialState.RUNNING, {}, {}, None)
        if joint:
            found = sampler.sample_relative(study, asking, self._distributions)
        else:
            found = {
                name: sampler.sample_independent(study, asking, name, one) for name, one in self._distributions.items()
            }
        return tuple(found[name] for name in self._distributions)

    def _study(self, seen: Seen) -> optuna.Study:
        limits = [_finite(values[at] for _, values in seen.values() if values) for at in range(self._metrics)]
        trials = [self._translated(number, *seen[number], limits) for number in sorted(seen)]
        return optuna.create_study(storage=_Given(trials), directions=["minimize"] * self._metrics)

    def _translated(
        self, number: int, places: Places, values: Values, limits: Sequence[tuple[float, float]]
    ) -> FrozenTrial:
        """An infinite value becomes the worst (or best) finite one: samplers compute with them."""
        values = tuple(min(high, max(low, one)) for one, (low, high) in zip(values, limits, strict=False))
        known = self._known.get(number)
        if known is None or known[0] != values:
            params = {
                name: place if isinstance(one, FloatDistribution) else round(place)
                for (name, one), place in zip(self._distributions.items(), places, strict=True)
            }
            state = TrialState.COMPLETE if values else TrialState.RUNNING
            known = values, _frozen(number, state, params, self._distributions, values or None)
            self._known[number] = known
        return known[1]


@final
class _Given(optuna.storages.InMemoryStorage):
    """A storage that answers with these trials."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._given = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [one for one in self._given if states is None or one.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: object) -> None:
        """Samplers leave notes for others that ask at the same time; nobody does."""


def _frozen(
    number: int,
    state: TrialState,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    values: Values | None,
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        params=params,
        distributions=distributions,
        value=None,
        values=values,
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _distribution(one: Coordinate) -> BaseDistribution:
    if one.count is None:
        return FloatDistribution(one.low, one.high)
    return IntDistribution(0, one.count - 1) if one.ordered else CategoricalDistribution(range(one.count))


def _finite(values: Any) -> tuple[float, float]:
    finite = [one for one in values if math.isfinite(one)]
    return (min(finite), max(finite)) if finite else (0.0, 0.0)
