"""leyden server: does the embedded server run, and where?"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from leyden import __version__
from leyden.cli.common import hints, print_json
from leyden.cli.usage import SETTINGS, json_option
from leyden.client import embedded
from leyden.client.api import Client
from leyden.core.errors import ConflictError, UnreachableError
from leyden.core.home import Home
from leyden.core.states import State
from leyden.core.units import format_duration


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
    """Say whether the server runs, and where. Exits with 5 if it does not."""
    home = Home.from_environ()
    client = embedded.connect(home)
    if client is None:
        if output == "json":
            print_json({"running": False, "home": str(home.root)})
        else:
            print(f"No server runs for {home.root}.")
            hints([("leyden server start", "starts it; so does `leyden run`")])
        return UnreachableError.exit_code
    health, jobs = client.health(), client.jobs()
    running = sum(State(job.state).active for job in jobs)
    waiting = sum(not State(job.state).active and not State(job.state).final for job in jobs)
    if output == "json":
        about = {"running": True, "url": client.endpoint.url, "pid": health.pid, "since": health.started_at}
        more = {"version": health.version, "home": health.home, "jobs": {"running": running, "waiting": waiting}}
        print_json({**about, **more})
        return 0
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(health.started_at))
    print(f"url      {client.endpoint.url}")
    print(f"pid      {health.pid}")
    print(f"since    {since} ({format_duration(max(0.0, time.time() - health.started_at))})")
    print(f"jobs     {running} running, {waiting} waiting")
    print(f"home     {health.home}")
    print(f"version  {health.version}")
    if health.version != __version__:
        hints([("leyden server stop", f"lets the next command start version {__version__}, which is installed now")])
    return 0
