"""leyden resume: let a paused job go on."""

from __future__ import annotations

import click

from leyden.cli.common import change, known
from leyden.cli.usage import SETTINGS, json_option


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@json_option
def command(jobs: tuple[str, ...], output: str) -> None:
    """Put paused jobs back into the queue. They go on from their newest checkpoint.

    \b
    leyden resume q7k2

    """
    change(jobs, known().resume, output)
