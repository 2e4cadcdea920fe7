"""leyden fork: a new job from a checkpoint of another."""

from __future__ import annotations

import re

import click

from leyden.cli.common import hints, known, print_json
from leyden.cli.usage import SETTINGS, json_option
from leyden.core.errors import UsageError
from leyden.core.ids import short_id


@click.command(context_settings=SETTINGS)
@click.argument("source", metavar="JOB[@STEP]")
@click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help="Another value for an argument; repeatable.")
@json_option
def command(source: str, pairs: tuple[str, ...], output: str) -> None:
    """Start a new job from a checkpoint of another, with its exact code and environment, and some arguments changed.

    \b
    leyden fork q7k2                          from its newest checkpoint
    leyden fork q7k2@1000 --set lr=0.01       from step 1000, with --lr 0.01
    """
    ref, at, step = source.partition("@")
    if at and not step.isdigit():
        raise UsageError(asked=f"`leyden fork {source}`", found=f"{step!r} is no step", do="Write it like q7k2@1000.")
    made = known().fork(ref or "last", step=int(step) if at else None, new=_values(pairs))
    if output == "json":
        print_json(made)
        return
    print(made.id)
    hints([(f"leyden logs {short_id(made.id)} -f", "follows it")])


def _values(pairs: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE pairs as a mapping.

    >>> _values(("lr=0.1", "layers=[2,3]"))
    {'lr': '0.1', 'layers': '[2,3]'}
    """
    for pair in pairs:
        if not re.match(r"[A-Za-z][\w.-]*=", pair):
            raise UsageError(asked=f"`--set {pair}`", found="that is no NAME=VALUE", do="Write it like --set lr=0.1.")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
