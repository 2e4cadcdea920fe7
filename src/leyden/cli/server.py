"""leyden server: does the embedded server run, and where?"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from leyden import __version__
from leyden.cli.common import ensured, hints, print_json
from leyden.cli.screen import DIM, Cell, clean, columns, note, painter, table
from leyden.cli.usage import SETTINGS, json_option
from leyden.client import embedded
from leyden.client.api import Client
from leyden.core.errors import ConflictError, NotFoundError, UnreachableError
from leyden.core.home import Home
from leyden.core.house import ServerView, WasteView
from leyden.core.states import State
from leyden.core.units import format_duration, format_size
from leyden.core.views import HealthView

_NAME = 24  # characters of a hash that are shown


@click.group(context_settings=SETTINGS, no_args_is_help=True)
def command() -> None:
    """Start, stop or look at the server. `leyden run` starts it when it is needed; other machines cannot reach it."""


@command.command()
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Listen there; a free port by default.")
@click.option("--foreground", is_flag=True, help="Stay here; Ctrl-C stops it.")
@click.option("--store", metavar="URL", help="Keep artifacts there: s3://bucket/prefix, a folder, or local.")
@click.option(
    "--keep-checkpoints", type=click.IntRange(0), metavar="N", help="Of jobs long ended keep so many; 0: all."
)
@click.option("--keep-days", type=click.FloatRange(0), metavar="D", help="So many days count as long.")
@click.option(
    "--keep-artifacts-days", type=click.FloatRange(0), metavar="D", help="Artifacts so long after a job; 0: for ever."
)
@click.option(
    "--clean-days", type=click.FloatRange(0), metavar="D", help="Clean away what was unused so long; 0: nothing."
)
@click.option(
    "--fake-gpus", type=click.IntRange(0, 1024), metavar="N", help="N GPUs that are none, to try things with."
)
@click.option("--price-gpu-hour", type=click.FloatRange(0), metavar="X", help="An hour of a GPU costs X, in any money.")
@click.option("--price-cpu-hour", type=click.FloatRange(0), metavar="X", help="An hour of a CPU costs X.")
@click.option("--database", metavar="URL", help="Keep jobs there: postgresql://user@host/name, a file, or local.")
def start(port: int | None, foreground: bool, database: str | None, **settings: object) -> None:
    """Start the server, unless it runs already. All but the port holds for servers that start later, too."""
    if database and database != "local" and "://" not in database:
        database = str(Path(database).expanduser().absolute())
    given = {f"--{name.replace('_', '-')}": value for name, value in {**settings, "database": database}.items()}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    home = Home.from_environ().create()
    if (found := embedded.find(home)) and embedded.answers(found):
        if options:
            raise ConflictError(
                asked=f"the server is to start with {' '.join(options)}",
                found=f"it runs already (pid {found.pid})",
                do="Stop it first, `leyden server stop`: jobs go on meanwhile.",
            )
        print(f"The server runs already at {found.url} (pid {found.pid}).")
    elif foreground:
        line = embedded.command_line(home, port, options)
        os.execv(line[0], line)
    else:
        endpoint = embedded.start(home, port=port, options=options)
        print(f"The server runs at {endpoint.url} (pid {endpoint.pid}); its home is {home.root}.")


@command.command()
def stop() -> None:
    """Stop the server. Jobs that run go on; the next server takes them over."""
    home = Home.from_environ()
    endpoint = embedded.find(home)
    running = 0
    if endpoint and embedded.answers(endpoint):
        running = sum(State(job.state).active for job in Client(endpoint).jobs())
    if not embedded.stop(home):
        print(f"No server runs for {home.root}.")
        return
    print(f"The server (pid {endpoint.pid if endpoint else '?'}) has stopped.")
    if running:
        print(
            f"{running} job{'s go' if running > 1 else ' goes'} on without it; `leyden server start` takes over again."
        )


@command.command()
@json_option
def status(output: str) -> int:
    """Say whether the server runs, where, what it keeps and how much room is left. Exits with 5 if it does not."""
    home = Home.from_environ()
    client = embedded.connect(home)
    if client is None:
        if output == "json":
            print_json({"running": False, "home": str(home.root)})
        else:
            print(f"No server runs for {home.root}.")
            hints([("leyden server start", "starts it; so does `leyden run`")])
        return UnreachableError.exit_code
    health = client.health()
    try:
        view = client.server()
    except NotFoundError:  # it is older than this command
        view = None
    if output == "json":
        print_json(_as_json(client, health, view))
        return 0
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(health.started_at))
    print(f"url       {client.endpoint.url}")
    print(f"pid       {health.pid}")
    print(f"since     {since} ({format_duration(max(0.0, time.time() - health.started_at))})")
    print(f"version   {health.version}")
    print(f"home      {health.home}")
    if view:
        print("\n".join(f"{name:<10}{said}" for name, said in _said(view)))
    if health.version != __version__:
        hints([("leyden server stop", f"lets the next command start version {__version__}, which is installed now")])
    return 0


def _as_json(client: Client, health: HealthView, view: ServerView | None) -> dict[str, object]:
    about = {"running": True, "url": client.endpoint.url, "since": health.started_at, **dataclasses.asdict(health)}
    if view is None:
        return about
    return {**about, **dataclasses.asdict(view), "jobs": _counts(view), "states": view.jobs}


def _counts(view: ServerView) -> dict[str, int]:
    states = {State(name): count for name, count in view.jobs.items()}
    return {
        "running": sum(count for state, count in states.items() if state.active),
        "waiting": sum(count for state, count in states.items() if not state.active and not state.final),
    }


def _said(view: ServerView) -> Iterator[tuple[str, str]]:
    used = "not counted yet" if view.home_bytes is None else format_size(view.home_bytes)
    yield "", f"{used} in it; {format_size(view.free_bytes)} of {format_size(view.disk_bytes)} free"
    yield "database", view.database
    yield "store", view.store + (f" (does not answer: {clean(view.trouble)})" if view.trouble else "")
    states = [State(name) for name in view.jobs]
    live = [f"{view.jobs[state]} {state}" for state in states if not state.final]
    ended = sum(view.jobs[state] for state in states if state.final)
    yield "jobs", ", ".join([*live, f"{ended} ended"])
    gpus = f"{view.gpus_held:.3g} of {view.gpus} GPUs, " if view.gpus else ""
    yield "devices", f"{gpus}{view.cpus_held} of {view.cpus} CPUs held on {view.node}"
    if view.warm:
        yield "warm", f"{view.warm} preloaded Python{'s' * (view.warm > 1)} to fork jobs from"
    yield "keeps", _rules(view)


def _rules(view: ServerView) -> str:
    checkpoints = "all checkpoints"
    if view.keep_checkpoints:
        after = f" from {_days(view.keep_days)} after a job's end" if view.keep_days else " once a job has ended"
        checkpoints = f"the newest {view.keep_checkpoints} checkpoints{after}"
    artifacts = f"artifacts {_days(view.keep_artifacts_days)}" if view.keep_artifacts_days else "artifacts"
    unused = f"; cleans away what was unused for {_days(view.clean_days)}" if view.clean_days else "; cleans nothing"
    return f"{checkpoints}, {artifacts}{unused}"


def _days(days: float) -> str:
    return f"{days:g} day{'s' * (days != 1)}"


@command.command("clean")
@click.option(
    "--days", type=click.FloatRange(0, 36_500), metavar="D", help="Environments unused so long; 30 if not said."
)
@click.option("-y", "--yes", is_flag=True, help="Do it; without, it is only said what would go.")
@json_option
def clean_home(days: float | None, yes: bool, output: str) -> None:
    """Remove what no job needs any more: unused environments, uploads that no job came of, what a crash left.

    Records of runs always stay, and so does what a job on record was made from. The server does the same once a day.
    """
    view = ensured().clean(days=days, really=yes)
    if output == "json":
        print_json(view)
        return
    size = format_size(sum(one.size_bytes for one in view.waste))
    if view.waste:
        paint = painter(sys.stdout)
        rows = [_waste_row(one, now=time.time()) for one in view.waste]
        print(table(("WHAT", "NAME", "FREES", "LAST USED", "WHY"), rows, width=columns(sys.stdout), paint=paint))
        print(paint(f"{_pieces(len(view.waste))}, {size}{' removed' if yes else ''}", DIM))
    else:
        print("There is nothing to clean.")
    for why in view.left:
        note(why)
    if view.waste and not yes:
        hints([("leyden server clean --yes", f"removes {'it' if len(view.waste) == 1 else 'them'}")])


def _pieces(count: int) -> str:
    return f"{count:,} piece{'s' * (count != 1)}"


def _waste_row(one: WasteView, *, now: float) -> list[Cell]:
    ago = f"{format_duration(max(0.0, now - one.used_at))} ago" if one.used_at else ""
    name = one.name if len(one.name) <= _NAME else f"{one.name[:_NAME]}…"
    return [
        Cell(text=one.kind),
        Cell(text=name),
        Cell(text=format_size(one.size_bytes), right=True),
        Cell(text=ago, right=True),
        Cell(text=one.why),
    ]
