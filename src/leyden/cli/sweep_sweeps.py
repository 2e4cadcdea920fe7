"""leyden sweep list: which sweeps are there?"""

from __future__ import annotations

import sys
import time

import click

from leyden.cli.common import known, print_json, telling_length
from leyden.cli.screen import BOLD, DIM, Cell, clean, columns, painter, table
from leyden.cli.sweep_tables import COLOURS, number
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.units import format_duration


@click.command(context_settings=SETTINGS)
@click.option("--limit", type=click.IntRange(1, 1000), metavar="N", default=20, help="At most so many, the newest.")
@json_option
def list_(limit: int, output: str) -> None:
    """List sweeps, newest first."""
    sweeps = known().sweeps.all(limit=limit)
    if output == "json":
        print_json(sweeps)
        return
    if not sweeps:
        print('No sweeps. `leyden sweep train.py --lr "[0.1, 0.01]"` begins one.')
        return
    paint, now = painter(sys.stdout), time.time()
    tail = telling_length([one.id for one in sweeps])
    rows = []
    for one in sweeps:
        counts, colours = one.counts, COLOURS.get(one.state, ())
        ended = counts["done"] + counts["failed"] + counts["dropped"]
        rows.append([
            Cell(text=one.id, paint=lambda text: paint(text[:-tail], DIM) + paint(text[-tail:], BOLD)),
            Cell(text=clean(one.name)),
            Cell(text=clean(one.user)),
            Cell(text=one.state, paint=lambda text, colours=colours: paint(text, *colours)),  # type: ignore[misc]
            Cell(text=one.strategy),
            Cell(text=f"{ended}/{one.asked}" if one.asked else str(ended), right=True),
            Cell(text=str(counts["running"] or ""), right=True),
            Cell(text=str(counts["failed"] or ""), right=True),
            Cell(text=", ".join(one.metrics)),
            Cell(text=number(one.best.value if one.best else None), right=True),
            Cell(text=format_duration(max(0.0, now - one.created_at)), right=True),
            Cell(text=clean(one.reason), paint=lambda text: paint(text, DIM)),
        ])  # fmt: skip
    heads = (
        *("ID", "NAME", "USER", "STATE", "STRATEGY", "ENDED", "RUNNING", "FAILED"),
        *("METRIC", "BEST", "AGE", "REASON"),
    )
    print(table(heads, rows, width=columns(sys.stdout), paint=paint))
