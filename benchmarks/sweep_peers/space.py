"""What does a space say to each library? The benchmark's expressions are Leyden's; the others get the same in words."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from leyden.core.sweep import Sweep
from leyden.sweeps.domains import Choice, Domain, Uniform
from leyden.sweeps.space import Space
from leyden.sweeps.suggest import Suggester


def flags(expressions: Mapping[str, str]) -> list[str]:
    """As arguments of a script."""
    return [word for name, text in expressions.items() for word in (f"--{name}", text)]


def draw(expressions: Mapping[str, str], rng: random.Random) -> dict[str, Any]:
    """One point."""
    return dict(Space.parse(flags(expressions)).sample(rng))


def first(expressions: Mapping[str, str], seed: int, count: int) -> list[dict[str, Any]]:
    """The points that Leyden draws at random with this seed: others are given the same, so that luck is shared."""
    suggester = Suggester(Space.parse(flags(expressions)), Sweep(seed=seed), "random", None)
    return [dict(suggester.ask(number, ())) for number in range(count)]


def of_optuna(expressions: Mapping[str, str], trial: Any) -> dict[str, Any]:
    """What its study suggests."""
    found: dict[str, Any] = {}
    for name, domain in _domains(expressions).items():
        if isinstance(domain, Uniform):
            found[name] = trial.suggest_float(name, domain.low, domain.high, log=domain.log)
        elif isinstance(domain, Choice):
            found[name] = trial.suggest_categorical(name, list(domain.values))
    return found


def of_ray(expressions: Mapping[str, str]) -> dict[str, Any]:
    """As a param_space."""
    from ray import tune

    found: dict[str, Any] = {}
    for name, domain in _domains(expressions).items():
        if isinstance(domain, Uniform):
            found[name] = (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
        elif isinstance(domain, Choice):
            found[name] = tune.choice(list(domain.values))
    return found


def _domains(expressions: Mapping[str, str]) -> dict[str, Domain]:
    return {axis.names[0]: axis.domain for axis in Space.parse(flags(expressions)).axes}
