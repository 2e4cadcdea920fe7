"""Which flags say how to search, and how do they and a script's words become a job and a sweep?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leyden.cli import target
from leyden.cli.submit import POLICIES
from leyden.core.errors import UsageError

if TYPE_CHECKING:
    from leyden.core.job import Job
    from leyden.core.sweep import Sweep

STRATEGIES = (
    "grid",
    "random",
    "tpe",
    "cmaes",
    "gp",
    "asha",
    "hyperband",
    "pbt",
    "grid_search",
    "random_search",
    "none",
)
Function = TypeVar("Function", bound=Callable[..., Any])
_COUNT = click.IntRange(1)
_FLAGS = (
    click.option(
        "--strategy",
        type=click.Choice(STRATEGIES),
        metavar="S",
        help="grid, random, tpe, cmaes, gp; asha, hyperband and pbt pause trials at rungs. "
        "Default: grid where all values are listed and no --trials is given, else random.",
    ),
    click.option("--trials", "--num_trials", "--num-trials", type=_COUNT, metavar="N", help="Start at most N trials."),
    click.option("--metric", metavar="M", help="What counts: val_loss:min, accuracy:max; several with commas."),
    click.option("--parallel", type=_COUNT, metavar="N", help="N trials at a time; as many as there is room for."),
    click.option("--per-gpu", type=click.IntRange(1, 64), metavar="N", help="N trials share one GPU."),
    click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the values that are drawn; 0 by default."),
    click.option("--max-epochs", type=_COUNT, metavar="N", help="Rungs: the best trials train for N epochs …"),
    click.option("--min-epochs", type=_COUNT, metavar="N", help="… and all for N, to the first rung; 1 by default."),
    click.option("--max-steps", type=_COUNT, metavar="N", help="The same in steps: those of leyden.report(step, …)."),
    click.option("--min-steps", type=_COUNT, metavar="N", help="To the first rung, in steps."),
    click.option("--eta", type=click.IntRange(2), metavar="N", help="One in N goes on from a rung; 3 by default."),
    click.option(
        "--sampler",
        type=click.Choice(("random", "tpe", "cmaes", "gp")),
        metavar="S",
        help="Chooses values under asha and hyperband: random, tpe, cmaes, gp.",
    ),
    click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop once more than N trials failed."),
    click.option("--stop-after", metavar="T", callback=target.DURATION, help="Stop the sweep after that long: 2h."),
    click.option("--budget", type=click.FloatRange(0, min_open=True), metavar="X", help="Stop once it has cost X."),
    click.option("--target", type=float, metavar="V", help="Finish once the first metric is as good as V."),
)
_NAMES = {"stop_after": "time", "budget": "cost"}


def flags(function: Function) -> Function:
    """Those of a sweep, then those of a job."""
    function = target.flags(function)
    for one in reversed(_FLAGS):
        function = one(function)
    return function


def read(words: tuple[str, ...], given: dict[str, Any]) -> tuple[Job, Sweep]:
    """What is searched, and how. `given` are all flags but --in-place. Raises SpecError, UsageError, NotFoundError."""
    from leyden.core.sweep import make_sweep
    from leyden.sweeps.planning import plan
    from leyden.sweeps.rows import read_rows, split_rows

    found = _resources({name: given.pop(name) for name in names()})
    policies = target.policies(**{key: given.pop(key) for key in POLICIES})
    rest, table = split_rows(words)
    fields: dict[str, Any] = {}
    variables = target.variables(given.pop("var")) or None
    job = target.make(rest, {**given, **policies, "vars": variables}, aside=fields)
    if table is not None:
        fields["rows"] = list(read_rows(Path(table)))
    fields |= {_NAMES.get(key, key): value for key, value in found.items() if value is not None}
    fields.setdefault("strategy", _default(job, fields))
    spec = make_sweep(fields)
    plan(job, spec)  # what is wrong with the expressions is said before anything is copied
    return job, spec


def names() -> list[str]:
    """Of the flags that are a sweep's, not a job's."""
    own = "strategy trials metric parallel per_gpu seed max_epochs min_epochs max_steps min_steps eta sampler"
    return [*own.split(), "max_failures", "stop_after", "budget", "target"]


def _resources(found: dict[str, Any]) -> dict[str, Any]:
    """--max-epochs and its like as keys of a sweep."""
    pairs = {unit: [found.pop(f"{end}_{unit}s") for end in ("min", "max")] for unit in ("epoch", "step")}
    units = [unit for unit, ends in pairs.items() if ends != [None, None]]
    if len(units) > 1:
        raise UsageError(
            asked="rungs in epochs and in steps", found="trials are counted in one of them", do="Leave one out."
        )
    for unit in units:
        low, high = pairs[unit]
        found |= {"resource": unit, "min_resource": low, "max_resource": high}
    return found


def _default(job: Job, fields: dict[str, Any]) -> str:
    from leyden.sweeps.space import Space

    if "trials" in fields:
        return "random"
    space = Space.parse(job.args, space=_texts(fields.get("space", {})), rows=fields.get("rows", ()))
    return "grid" if space.finite else "random"


def _texts(space: object) -> dict[str, str]:
    from leyden.core.sweep import as_text

    return {str(name): as_text(one) for name, one in space.items()} if isinstance(space, dict) else {}
