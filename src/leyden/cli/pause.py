"""leyden pause: give its devices back, and go on later."""

from __future__ import annotations

import click

from leyden.cli.common import change, known
from leyden.cli.usage import SETTINGS, json_option


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@json_option
def command(jobs: tuple[str, ...], output: str) -> None:
    """Have jobs save a checkpoint and give their devices back. `leyden resume` lets them go on from there.

    \b
    leyden pause q7k2
    leyden pause last -o json

    """
    change(jobs, known().pause, output)
