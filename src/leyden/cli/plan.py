"""leyden plan: what would happen, how long would it take, what would it cost?"""

from __future__ import annotations

import sys
from typing import Any

import click

from leyden.cli import searching
from leyden.cli.common import ensured, print_json
from leyden.cli.screen import DIM, Cell, clean, columns, note, painter, table
from leyden.cli.sweep_tables import number
from leyden.cli.usage import SCRIPT_SETTINGS, SETTINGS
from leyden.core.login import login
from leyden.core.sweep_views import SweepPlan
from leyden.core.units import format_duration


@click.group(context_settings=SETTINGS, no_args_is_help=True)
def command() -> None:
    """Say what would happen, without doing it.

    \b
    leyden plan sweep --trials 50 train.py --lr "loguniform(1e-4, 1e-1)"
    """


@command.command("sweep", context_settings=SCRIPT_SETTINGS)
@searching.flags
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", metavar="FORMAT", help="or json.")
def sweep(words: tuple[str, ...], output: str, in_place: bool, **given: Any) -> None:
    """Show what `leyden sweep` with the same words would do: trials, rungs, what they take, how long, how dear."""
    job, spec = searching.read(words, given)
    found = ensured().sweeps.plan(job, spec, user=login())
    if output == "json":
        print_json(found)
        return
    for name, text in _lines(found):
        print(f"{name:<9} {text}")
    if found.some:
        names = list(found.some[0].params)
        rows = [
            [
                Cell(text=str(one.number), right=True),
                *(Cell(text=number(one.params[name]), right=True) for name in names),
                Cell(text=clean(" ".join(one.args))),
            ]
            for one in found.some
        ]
        print(table(("TRIAL", *names, "ARGUMENTS"), rows, width=columns(sys.stdout), paint=painter(sys.stdout)))
        if found.trials is None or found.trials > len(found.some):
            note(f"the first {len(found.some)}", DIM)


def _lines(found: SweepPlan) -> list[tuple[str, str]]:
    points = "no end of points" if found.size is None else f"{found.size:,} points"
    trials = "until its limits" if found.trials is None else f"{found.trials:,}"
    lines = [
        ("trials", f"{trials}, chosen by {found.strategy} from {points}"),
        ("each takes", f"{found.takes}; {found.at_once} at a time"),
    ]
    lines += [("rungs", f"{' → '.join(map(str, one))} {found.resource}s") for one in found.rungs]
    if found.resource_total and found.resource_full:
        saved = found.resource_full / found.resource_total
        text = f"{found.resource_total:,} {found.resource}s in all, {saved:.1f} times fewer than without rungs"
        lines.append(("training", text))
    lines.append(("a trial", _span(found.trial_s) or found.note))
    if found.total_s:
        lines.append(("in all", _span(found.total_s)))
    if found.cost:
        lines.append(("costs", " to ".join(f"{one:.2f}" for one in found.cost)))
    return lines


def _span(seconds: list[float]) -> str:
    """
    >>> _span([60.0, 90.0]), _span([])
    ('1m00s to 1m30s', '')
    """
    return " to ".join(format_duration(one) for one in seconds)
