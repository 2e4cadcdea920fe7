"""leyden submit: hand a job in, print its id, return."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from leyden.cli import target
from leyden.cli.common import ensured, hints, print_json
from leyden.cli.screen import note
from leyden.cli.usage import SCRIPT_SETTINGS, json_option
from leyden.client import submission
from leyden.core.errors import NotFoundError
from leyden.core.ids import short_id
from leyden.core.views import JobView


@click.command(context_settings=SCRIPT_SETTINGS)
@target.flags
@json_option
def command(words: tuple[str, ...], output: str, **flags: Any) -> None:
    """Hand a job in and return at once. Prints the job's id alone, so that scripts can use it.

    \b
    leyden submit train.py --lr 0.1
    leyden submit --gpus 2 --time 2h --name big train.py
    leyden wait $(leyden submit train.py)
    """
    job = hand_in(words, **flags)
    if output == "json":
        print_json(job)
        return
    print(job.id)
    hints([(f"leyden logs {short_id(job.id)} -f", "follows it")])


POLICIES = ("preempt", "retry", "after", "hold", "stall", "idle", "cost")


def hand_in(words: tuple[str, ...], *, in_place: bool, var: tuple[str, ...], **given: Any) -> JobView:
    """Check what is to run, then submit it from the current folder."""
    policies = target.policies(**{key: given.pop(key) for key in POLICIES})
    job = target.make(words, {**given, **policies, "vars": target.variables(var) or None})
    try:
        return submission.submit(functools.cache(ensured), job, folder=Path.cwd(), in_place=in_place, say=note)
    except NotFoundError as error:
        if flag := next((f"`--after {ref}`" for ref in job.after if error.asked.startswith(f"job {ref!r} ")), None):
            raise NotFoundError(asked=flag, found=error.found, do=error.do) from None
        raise
