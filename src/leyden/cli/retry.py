"""leyden retry: run a job that has ended once more."""

from __future__ import annotations

import click

from leyden.cli.common import hints, known, print_json
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.ids import short_id


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@json_option
def command(job: str, output: str) -> None:
    """Run an ended job once more: a new job with its code, arguments and environment, from its newest checkpoint.

    \b
    leyden retry            the newest job
    leyden retry q7k2
    """
    made = known().retry(job)
    if output == "json":
        print_json(made)
        return
    print(made.id)
    hints([(f"leyden logs {short_id(made.id)} -f", "follows it")])
