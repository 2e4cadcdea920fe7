"""Which parameters matter?"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from leyden.core.errors import SpecError
from leyden.sweeps.coordinates import coordinates
from leyden.sweeps.space import Space
from leyden.sweeps.state import Trial
from leyden.sweeps.suggest import outcome

_FEWEST = 4  # trials; a forest of fewer says nothing


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """The share of the first metric's variation that each parameter explains by itself, 0 to 1, the largest first.

    fANOVA (Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014), on
    a logarithmic scale where the space has one. What only several parameters explain together counts for none of them.
    Parameters that vary together are one, "lr, width". Of trials that have not ended the last value counts. {} where
    fewer than four have a value, or all have the same. Raises SpecError where Optuna or scikit-learn is missing.
    """
    found = coordinates(space)
    seen = {}
    for trial in trials:
        places = [place for one in found if (place := one.of(trial.params)) is not None]
        values = outcome(trial, 1 if trial.final is None else len(trial.final))
        if values and len(places) == len(found):
            seen[trial.number] = tuple(places), values[:1]
    if len(seen) < _FEWEST or len({values for _, values in seen.values()}) == 1 or not found:
        return {}
    missing = [name for name in ("optuna", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            asked="the importance of parameters",
            found=f"the server has no {' and no '.join(missing)}",
            do="Install there: pip install optuna scikit-learn",
        )
    from leyden.sweeps.studies import Study  # Optuna: 0.6 s

    shares = Study(found, 1).fanova(seen, seed=0)
    names = [one.name for one in found]
    return dict(sorted(zip(names, shares, strict=True), key=lambda one: -one[1]))
