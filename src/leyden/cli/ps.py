"""leyden ps: what runs, what waits and why?"""

from __future__ import annotations

import sys
import time

import click

from leyden.cli.common import STATE_COLOURS, far, print_json, runtime_s, telling_length
from leyden.cli.screen import BOLD, DIM, Cell, columns, compact, note, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.client import embedded
from leyden.core.home import Home
from leyden.core.states import State
from leyden.core.units import format_duration
from leyden.core.views import JobView

HEADS = ("ID", "NAME", "USER", "STATE", "AGE", "RUNTIME", "DONE", "DEVICES", "REASON")


@click.command(context_settings=SETTINGS)
@click.option("-a", "--all", "everything", is_flag=True, help="Also jobs that ended long ago.")
@click.option("--limit", type=click.IntRange(1, 10_000), metavar="N", default=1000, help="At most so many, the newest.")
@json_option
def command(everything: bool, limit: int, output: str) -> None:
    """List jobs, newest first: those waiting or running, and those that ended in the last ten minutes.

    The bright end of an id is enough to name the job in other commands.
    """
    home = Home.from_environ()
    client = embedded.connect(home)
    jobs = client.jobs(include_ended=everything, limit=limit) if client else []
    if output == "json":
        print_json(jobs)
    elif client is None:
        again = f" (there are records in {home.root})" if home.database.exists() else ""
        print(f"No server runs{again}. `leyden run train.py` or `leyden server start` starts one.")
    elif not jobs:
        print("No jobs." if everything else "No jobs now. `leyden ps -a` lists those that ended before.")
    else:
        print(listing(jobs, now=time.time()))
        if len(jobs) == limit:
            note(f"the newest {limit:,} jobs; --limit lists more, `leyden top` those that run")


def listing(jobs: list[JobView], *, now: float) -> str:
    """The table of jobs, as wide as the terminal."""
    paint = painter(sys.stdout)
    tail = telling_length([job.id for job in jobs])

    def row(job: JobView) -> list[Cell]:
        spent = runtime_s(job, now)
        return [
            Cell(text=job.id, paint=lambda text: paint(text[:-tail], DIM) + paint(text[-tail:], BOLD)),
            Cell(text=job.name),
            Cell(text=job.user),
            Cell(text=job.state, paint=lambda text: paint(text, *STATE_COLOURS.get(State(job.state), ()))),
            Cell(text=format_duration(max(0.0, now - job.created_at))),
            Cell(text="" if spent is None else format_duration(spent)),
            Cell(text=far(job)),
            Cell(text=compact(job.devices) if State(job.state).active else ""),
            Cell(text="" if job.reason == job.state else job.reason, paint=lambda text: paint(text, DIM)),
        ]

    return table(HEADS, [row(job) for job in jobs], width=columns(sys.stdout), paint=paint)
