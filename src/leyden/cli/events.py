"""leyden events: what happened to jobs, as it happens."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from leyden.cli.common import known, reconnected
from leyden.cli.screen import DIM, clean, note, painter
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.follow import GIVE_UP_S
from leyden.core.errors import UnreachableError
from leyden.core.ids import short_id


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with every change as it happens.")
@json_option
def command(job: str | None, follow: bool, output: str) -> None:
    """Print every change of a job's state, or of all jobs: when, from what to what, who did it and why.

    \b
    leyden events               all jobs
    leyden events q7k2 -f       one job, until Ctrl-C
    leyden events -f -o json    a JSON object a line
    """
    client, last = known(), 0
    while found := client.events(after=last, ref=job):
        for one in found:
            _print(one, output)
            last = one["id"]
    while follow:
        try:
            for one in client.watch(after=last, ref=job):
                _print(one, output)
                last = one["id"]
        except UnreachableError as error:
            note(f"{error.found}; trying again")
            time.sleep(1)
            client = _again(error)


def _again(error: UnreachableError) -> Any:
    for _ in range(round(GIVE_UP_S)):
        try:
            return reconnected()
        except UnreachableError:
            time.sleep(1)
    raise error


def _print(one: dict[str, Any], output: str) -> None:
    if output == "json":
        print(json.dumps(one), flush=True)
        return
    at = time.strftime("%F %T", time.localtime(one["at"]))
    paint = painter(sys.stdout)
    change = f"{one['before']} → {one['after']}" if one["before"] else one["after"]
    print(
        f"{paint(at, DIM)}  {short_id(one['job_id'])}  {change:<22} {clean(one['who'])}: {clean(one['why'])}",
        flush=True,
    )
