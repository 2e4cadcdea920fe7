"""leyden release: let a held job start."""

from __future__ import annotations

import click

from leyden.cli.common import change, known
from leyden.cli.usage import SETTINGS, json_option


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@json_option
def command(jobs: tuple[str, ...], output: str) -> None:
    """Let held jobs start.

    \b
    leyden release q7k2

    """
    change(jobs, known().release, output)
