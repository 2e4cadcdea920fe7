"""What would a sweep do, how long would it take and what would it cost? Nothing is begun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from leyden.core.sweep import Strategy
from leyden.core.sweep_views import PlannedTrial, SweepPlan
from leyden.jobs.history import load_history
from leyden.jobs.placement import Size
from leyden.server.sweeps.making import size_of
from leyden.server.sweeps.study import Study
from leyden.sweeps.hyperband import Hyperband

if TYPE_CHECKING:
    from leyden.server.services import Services

_SHOWN: Final = 20
_KNOWN_BEFOREHAND: Final = frozenset({Strategy.GRID, Strategy.RANDOM})


def foresee(services: Services, study: Study) -> SweepPlan:
    """Raises SpecError, PlacementError where it could not be."""
    spec, size = study.spec, size_of(services, study)
    room = services.room(size)
    at_once = min(one for one in (room, spec.parallel, study.asked) if one is not None)
    levels, counts = _rungs(study)
    total = sum(_trained(bracket, reached) for bracket, reached in zip(levels, counts, strict=True)) or None
    full = sum(reached[0] * bracket[-1] for bracket, reached in zip(levels, counts, strict=True)) or None
    trial_s = _lasted(services, study)
    whole = [(study.asked or 0) * one * (total / full if total and full else 1.0) for one in trial_s]
    total_s = [one / at_once for one in whole] if study.asked else []
    price = services.prices.an_hour(size.gpus, size.cpus) / size.share
    return SweepPlan(
        strategy=spec.strategy,
        trials=study.asked,
        size=study.space.size,
        at_once=at_once,
        takes=_takes(size),
        rungs=[list(bracket) for bracket in levels],
        resource=spec.resource,
        resource_total=total,
        resource_full=full,
        trial_s=trial_s,
        total_s=total_s,
        cost=[one * price / 3600.0 for one in whole] if services.prices.known and total_s else [],
        some=_some(study),
        note=""
        if trial_s
        else f"no job named {study.row.name!r} has ended yet, so nobody knows how long a trial takes",
    )


def _rungs(study: Study) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Of each bracket its rungs, and how many trials will reach them if none fails."""
    course, asked = study.course, study.asked
    if not study.spec.strategy.has_rungs:
        return [], []
    members: dict[int, int] = {}
    if isinstance(course, Hyperband):
        asked = sum(course.size(bracket) for bracket in range(len(course.levels(0)))) if asked is None else asked
    for number in range(asked or 0):
        bracket = course.bracket_of(number)
        members[bracket] = members.get(bracket, 0) + 1
    levels = [course.levels(bracket) for bracket in members]
    falls = 1 if study.spec.strategy is Strategy.PBT else study.spec.eta
    return levels, [
        [count // falls**rung for rung in range(len(bracket))]
        for bracket, count in zip(levels, members.values(), strict=True)
    ]


def _trained(bracket: Sequence[int], reached: Sequence[int]) -> int:
    steps = [after - before for before, after in zip((0, *bracket), bracket, strict=False)]
    return sum(step * count for step, count in zip(steps, reached, strict=True))


def _lasted(services: Services, study: Study) -> list[float]:
    """How long jobs of that name took, the middle half of them."""
    found = services.store.read(load_history).by_name.get((study.row.user, study.row.name))
    return [found.low, found.high] if found else []


def _some(study: Study) -> list[PlannedTrial]:
    """The first trials, where they do not depend on how others end."""
    blind = study.spec.strategy in _KNOWN_BEFOREHAND
    chosen = study.spec.strategy if blind else study.spec.sampler if study.spec.strategy.has_rungs else ""
    if chosen not in {"grid", "random"}:
        return []
    some = []
    for number in range(min(_SHOWN, study.asked or _SHOWN)):
        params = study.suggester.ask(number, [])
        some.append(PlannedTrial(number=number, args=list(study.space.args(params)), params=params))
    return some


def _takes(size: Size) -> str:
    cpus = f"{size.cpus} CPU{'s' * (size.cpus != 1)}"
    if not size.gpus:
        return cpus
    gpus = f"1/{size.share} of a GPU" if size.share > 1 else f"{size.gpus} GPU{'s' * (size.gpus != 1)}"
    return f"{gpus} and {cpus}"
