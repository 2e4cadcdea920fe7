"""leyden ui: the dashboard, in a browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from urllib.parse import quote, urlsplit

import click

from leyden.cli.common import ensured, print_json
from leyden.cli.screen import note
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.transport import Endpoint, Transport
from leyden.core.home import Home
from leyden.core.login import login

PAGES = ("runs", "sweeps", "cluster", "queue")
OPENS = """<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={url}"><title>Leyden</title>
"""


@click.command(context_settings=SETTINGS)
@click.argument("what", metavar="[RUN | sweeps | cluster | queue]", required=False)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@json_option
def command(what: str | None, no_browser: bool, output: str) -> None:
    """Open the dashboard in a browser: runs, one run, sweeps, the cluster or the queue; starts the server if need be.

    \b
    leyden ui                the runs
    leyden ui last           the newest one, also without a job
    leyden ui --no-browser   print the address, to be opened by hand

    The address that is printed opens the dashboard to whoever has it; the browser then keeps a cookie for 30 days.
    """
    client = ensured()
    place = f"/{what}" if what in PAGES else _run(client.endpoint, what) if what else "/runs"
    url = f"{client.endpoint.url}/login?to={quote(place, safe='/')}#token={client.endpoint.token}&user={quote(login())}"
    if output == "json":
        print_json({"url": url})
        return
    opened = not no_browser and open_browser(Home.from_environ(), url)
    if opened:
        note(f"opened the dashboard, {client.endpoint.url}{place}")
        return
    print(url)
    if "SSH_CONNECTION" in os.environ:
        port = urlsplit(url).port
        note(f"  on your own machine first: ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()}")


def _run(endpoint: Endpoint, reference: str) -> str:
    """The page of a run. Raises NotFoundError."""
    found = Transport(endpoint).json("GET", f"/api/runs/{quote(reference, safe='')}")
    return f"/runs/{found['run']['id']}"


def open_browser(home: Home, url: str) -> bool:
    """Whether one could be asked to. The address is told through a file that only its owner reads: a command line is
    seen by everybody on the machine."""
    import webbrowser  # 10 ms

    if not _desktop():
        return False
    page = home.root / "open.html"
    with contextlib.suppress(FileNotFoundError):
        page.unlink()
    descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123  a descriptor, not a path
        file.write(OPENS.format(url=url.replace("&", "&amp;")))
    return webbrowser.open(page.as_uri())


def _desktop() -> bool:
    """Browsers of a terminal would take it over, and show nothing of a dashboard."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")) or bool(shutil.which("open"))
