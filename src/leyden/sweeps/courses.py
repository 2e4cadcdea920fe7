"""Which course do the trials of this sweep take?"""

from __future__ import annotations

from leyden.core.errors import SpecError
from leyden.core.sweep import Strategy, Sweep
from leyden.sweeps.asha import Asha
from leyden.sweeps.course import Course, Straight
from leyden.sweeps.hyperband import Hyperband
from leyden.sweeps.pbt import Pbt


def make_course(sweep: Sweep) -> Course:
    """The course of a sweep; raises SpecError where it cannot be.

    >>> make_course(Sweep(strategy="asha", metric="loss", max_resource=9)).levels(0)
    (1, 3, 9)
    """
    low, high = sweep.min_resource, sweep.max_resource
    if high is None or not sweep.strategy.has_rungs:
        return Straight()
    if sweep.strategy is Strategy.ASHA:
        return Asha(min_resource=low, max_resource=high, eta=sweep.eta)
    if sweep.strategy is Strategy.HYPERBAND:
        return Hyperband(min_resource=low, max_resource=high, eta=sweep.eta, trials=sweep.trials)
    if sweep.trials is None:
        raise SpecError(
            asked="strategy pbt", found="nothing says how large its population is", do="Give --trials 20, for example."
        )
    return Pbt(min_resource=low, max_resource=high, population=sweep.trials)
