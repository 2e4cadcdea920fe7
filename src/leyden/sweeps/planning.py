"""What is searched, and how many trials are there? Raises what a user has to know before anything begins."""

from __future__ import annotations

from leyden.core.errors import SpecError
from leyden.core.job import Job
from leyden.core.sweep import Strategy, Sweep
from leyden.sweeps.domains import Choice
from leyden.sweeps.space import Space


def plan(job: Job, spec: Sweep) -> tuple[Space, int | None]:
    """The space, and how many trials are started at most. Raises SpecError where that cannot be."""
    space = Space.parse(job.args, space=spec.space, rows=spec.rows, seed=spec.seed)
    if not space.axes and spec.trials is None:
        raise SpecError(
            asked=f"a sweep of {job.title!r}",
            found="none of its arguments varies",
            do='Write e.g. --lr "loguniform(1e-4,1e-1)" or --width "[32, 64]".',
        )
    if spec.strategy is Strategy.GRID and not space.finite:
        endless = next(name for axis in space.axes for name in axis.names if not isinstance(axis.domain, Choice))
        raise SpecError(
            asked="strategy grid",
            found=f"{endless} has no end of values: {space.texts[endless]}",
            do="Say how many, as in uniform(0, 1, 5), or use --strategy random.",
        )
    asked = spec.trials
    if spec.strategy in {Strategy.GRID, Strategy.RANDOM} and space.axes and space.size is not None:
        asked = space.size if asked is None else min(asked, space.size)
    endless_ = spec.time is None and spec.cost is None and spec.target is None
    if asked is None and endless_ and spec.strategy is not Strategy.HYPERBAND:
        raise SpecError(
            asked=f"strategy {spec.strategy}",
            found="nothing says when it is over",
            do="Give --trials 100, or --stop-after 2h.",
        )
    return space, asked
