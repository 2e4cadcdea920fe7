"""leyden sweep: try many values of a script's arguments."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import click

from leyden.cli import searching
from leyden.cli.common import ensured, hints, print_json
from leyden.cli.screen import note
from leyden.cli.usage import SCRIPT_SETTINGS
from leyden.core.ids import short_id

_OTHERS = {"list": "sweeps", "show": "one", "best": "one", "export": "one", "stop": "change", "resume": "change"}


class _Sweep(click.Command):
    """`leyden sweep stop …` and its like are commands of their own; every other first word is a script."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in _OTHERS:
            found = importlib.import_module(f"leyden.cli.sweep_{_OTHERS[args[0]]}")
            other: click.Command = getattr(found, args[0] if args[0] != "list" else "list_")
            return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(cls=_Sweep, context_settings=SCRIPT_SETTINGS)
@searching.flags
@click.option("-d", "--detach", is_flag=True, help="Print the sweep's id and return.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", metavar="FORMAT", help="With -d.")
def command(words: tuple[str, ...], output: str, detach: bool, in_place: bool, **given: Any) -> int:
    """Run a script many times with other arguments, and watch. Expressions among its arguments say what varies.

    \b
    leyden sweep train.py --lr "[0.1, 0.01]" --width "[32, 64]"         a grid: all four
    leyden sweep --trials 50 --metric val_loss:min --strategy tpe train.py --lr "loguniform(1e-4, 1)"
    leyden sweep --strategy hyperband --max-epochs 27 --metric acc:max train.py --lr "uniform(0, 1)"
    leyden sweep train.py @trials.csv                                   a row a trial, a column a flag
    leyden sweep job.toml                                               with keys under [sweep]

    \b
    leyden sweep list                   sweeps, newest first
    leyden sweep show [SWEEP]           its rungs and its trials
    leyden sweep best [SWEEP]           the best trial, as a command to be typed
    leyden sweep export [SWEEP]         all trials as CSV
    leyden sweep stop [SWEEP]           pause its trials …
    leyden sweep resume [SWEEP]         … and let them go on, with other limits if given

    Lists, range, linspace, logspace, choice, zip, uniform, loguniform, normal, randint, flag() and literal(…):
    docs/reference/sweeps.md. Ctrl-C leaves the sweep running.
    """
    if given["strategy"] == "none":
        return _plain(words, in_place=in_place, **given)
    from leyden.cli.sweep_follow import follow
    from leyden.client import submission

    job, spec = searching.read(words, given)
    sweep = submission.bring(
        functools.cache(ensured),
        job,
        lambda client, job, **place: client.sweeps.submit(job, spec, **place),
        folder=Path.cwd(),
        in_place=in_place,
        say=note,
    )
    if not detach:
        return follow(sweep)
    if output == "json":
        print_json(sweep)
        return 0
    print(sweep.id)
    hints([(f"leyden sweep show {short_id(sweep.id)}", "how it goes")])
    return 0


def _plain(words: tuple[str, ...], **given: Any) -> int:
    """Grid.ai's way of saying that what looks like an expression is none: one job, as with `leyden run`."""
    from leyden.cli import run

    for name in searching.names():
        given.pop(name)
    assert run.command.callback is not None
    return int(run.command.callback(words=words, **given))
