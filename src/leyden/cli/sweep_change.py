"""leyden sweep stop, resume: pause a sweep's trials, let them go on."""

from __future__ import annotations

from typing import Any

import click

from leyden.cli import target
from leyden.cli.common import hints, known, print_json
from leyden.cli.screen import clean
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.ids import short_id
from leyden.core.sweep_views import SweepView
from leyden.core.units import parse_duration


@click.command(context_settings=SETTINGS)
@click.argument("sweep", metavar="[SWEEP]", default="last")
@json_option
def stop(sweep: str, output: str) -> None:
    """Stop a sweep: trials that run save a checkpoint and are paused, no others begin. `resume` lets it go on."""
    one = known().sweeps.stop(sweep)
    _tell(one, output)
    if output == "text":
        hints([(f"leyden sweep resume {short_id(one.id)}", "lets it go on")])


@click.command(context_settings=SETTINGS)
@click.argument("sweep", metavar="[SWEEP]", default="last")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="So many trials in all.")
@click.option("--stop-after", metavar="T", callback=target.DURATION, help="Stop it after so long from now on.")
@click.option("--budget", type=click.FloatRange(0, min_open=True), metavar="X", help="What it may cost in all.")
@click.option("--target", "goal", type=float, metavar="V", help="Finish once the first metric is as good as V.")
@click.option("--max-failures", type=click.IntRange(0), metavar="N", help="Stop once more than N trials failed.")
@json_option
def resume(
    sweep: str, output: str, stop_after: str | None, budget: float | None, goal: float | None, **given: Any
) -> None:
    """Let a sweep that was stopped, or has failed, go on where it stood; or give one that has finished more trials."""
    time_s = None if stop_after is None else parse_duration(stop_after)
    changes = {**given, "time": time_s, "cost": budget, "target": goal}
    one = known().sweeps.resume(sweep, {key: value for key, value in changes.items() if value is not None})
    _tell(one, output)


def _tell(one: SweepView, output: str) -> None:
    if output == "json":
        print_json(one)
    else:
        print(clean(f"{short_id(one.id)} {one.name}: {one.state}{f' ({one.reason})' if one.reason else ''}"))
