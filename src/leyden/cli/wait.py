"""leyden wait: has the job ended, and how?"""

from __future__ import annotations

import sys

import click

from leyden.cli.common import ending, ending_colours, exit_code, known, print_json, reconnected
from leyden.cli.screen import painter
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.follow import Follower
from leyden.core.views import JobView


@click.command(context_settings=SETTINGS)
@click.argument("jobs", metavar="[JOB]…", nargs=-1)
@json_option
def command(jobs: tuple[str, ...], output: str) -> int:
    """Wait until jobs have ended. Exits with the first code other than 0: the job's own, 103 cancelled, 105 time limit.

    \b
    leyden wait                              the newest job
    leyden wait $(leyden submit train.py)    for scripts
    """
    client = known()
    ids = [client.job(ref).job.id for ref in jobs or ("last",)]
    paint = painter(sys.stdout)
    ended: list[JobView] = []
    for one in ids:
        ended.append(Follower(reconnected, one).end())
        if output == "text":
            print(paint(ending(ended[-1]), *ending_colours(ended[-1])), flush=True)
    if output == "json":
        print_json(ended)
    return next((code for job in ended if (code := exit_code(job))), 0)
