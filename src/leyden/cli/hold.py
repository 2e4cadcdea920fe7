"""leyden hold: keep a waiting job from starting."""

from __future__ import annotations

import click

from leyden.cli.common import change, known
from leyden.cli.usage import SETTINGS, json_option


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@json_option
def command(jobs: tuple[str, ...], output: str) -> None:
    """Keep jobs that wait from starting, until `leyden release`.

    \b
    leyden hold q7k2

    """
    change(jobs, known().hold, output)
