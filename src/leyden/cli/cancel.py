"""leyden cancel: stop jobs."""

from __future__ import annotations

import click

from leyden.cli.common import known, print_json
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.ids import short_id
from leyden.core.states import State
from leyden.core.views import JobView


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@json_option
def command(jobs: tuple[str, ...], output: str) -> None:
    """Stop jobs. A job that runs is asked to end first, so that it can write a checkpoint.

    \b
    leyden cancel q7k2
    leyden cancel last
    """
    client = known()
    ids = [client.job(ref).job.id for ref in jobs]  # all of them are looked up before the first is stopped
    stopped = [client.cancel(one) for one in ids]
    if output == "json":
        print_json(stopped)
        return
    for job in stopped:
        print(f"{short_id(job.id)} {job.name}: {_said(job)}")


def _said(job: JobView) -> str:
    if job.state == State.CANCELLED:
        return "cancelled"
    return f"had ended before ({job.state})" if State(job.state).final else f"{job.state}, will be cancelled"
