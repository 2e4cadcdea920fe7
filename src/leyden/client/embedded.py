"""Which server does this user's command line talk to, and how does it come to run?

LEYDEN_API_URL and LEYDEN_TOKEN name one; else it is the embedded server of $LEYDEN_HOME, found through server.json and
started, detached, by whoever needs it first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from leyden.client.api import Client
from leyden.client.transport import Endpoint
from leyden.core.errors import LeydenError, ServerError, UnreachableError
from leyden.core.home import Home
from leyden.core.process import alive

if TYPE_CHECKING:
    import subprocess

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 15.0
_POLL_S = 0.02


def named_server(environ: Mapping[str, str] = os.environ) -> Endpoint | None:
    """The server LEYDEN_API_URL names, if it names one."""
    url = environ.get("LEYDEN_API_URL", "")
    return Endpoint(url=url, token=environ.get("LEYDEN_TOKEN", "")) if url else None


def find(home: Home) -> Endpoint | None:
    """The server that server.json speaks of, unless its process is dead. It is not asked whether it answers."""
    try:
        fields = json.loads(home.server_file.read_text())
        endpoint = Endpoint(
            url=fields["url"], token=fields["token"], pid=int(fields["pid"]), version=str(fields.get("version", ""))
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return endpoint if endpoint.pid and alive(endpoint.pid) else None


def connect(home: Home, environ: Mapping[str, str] = os.environ) -> Client | None:
    """A client of the server that runs; None where none does. Starts nothing."""
    if named := named_server(environ):
        # A rank's own token is good for its reports alone; a job of the server's owner may bring more jobs.
        return Client((find(home) if "LEYDEN_JOB_ID" in environ else None) or named)
    endpoint = find(home)
    return Client(endpoint) if endpoint and answers(endpoint) else None


def running(home: Home) -> Client:
    """A client of the server that runs, for those who wait for it. Raises UnreachableError where none does."""
    if client := connect(home):
        return client
    raise UnreachableError(
        asked=f"the server of {home.root}", found="none runs", do="Start it with `leyden server start`."
    )


def ensure(
    home: Home, environ: Mapping[str, str] = os.environ, *, on_start: Callable[[], None] = lambda: None
) -> Client:
    """A client of the server that runs, or of one started now; raises ServerError with the end of its log."""
    return connect(home, environ) or Client(start(home, on_start=on_start))


def answers(endpoint: Endpoint) -> bool:
    """Whether that very server answers, not another program that got its port or its pid."""
    try:
        return Client(endpoint, timeout_s=5.0).health().pid == endpoint.pid
    except LeydenError:
        return False


def start(
    home: Home,
    *,
    port: int | None = None,
    options: Sequence[str] = (),
    deadline_s: float = START_DEADLINE_S,
    on_start: Callable[[], None] = lambda: None,
) -> Endpoint:
    """Start the embedded server unless it runs already; of two starters the second finds what the first began."""
    home.create()
    until = time.monotonic() + deadline_s
    with _starting(home, until):
        endpoint = find(home)
        if endpoint and answers(endpoint):
            return endpoint
        on_start()
        log_start = home.log_file.stat().st_size if home.log_file.exists() else 0
        process = _spawn(home, port, options)
        while time.monotonic() < until:
            over = process.poll() is not None  # read first: a server that found another one running leaves to it
            endpoint = find(home)
            if endpoint and answers(endpoint):
                return endpoint
            if over:
                raise _failed(home, log_start, f"it ended with exit code {process.returncode}")
            time.sleep(_POLL_S)
        process.kill()
        process.wait()
        raise _failed(home, log_start, f"it did not answer within {deadline_s:.0f} s")


def stop(home: Home, *, deadline_s: float = STOP_DEADLINE_S) -> Endpoint | None:
    """Stop the embedded server and wait until it is gone; None where none runs. Jobs that run go on."""
    endpoint = find(home)
    if not endpoint or not endpoint.pid or not answers(endpoint):
        return None
    os.kill(endpoint.pid, signal.SIGTERM)
    until = time.monotonic() + deadline_s
    while alive(endpoint.pid):
        if time.monotonic() > until:
            raise ServerError(
                asked=f"the server (pid {endpoint.pid}) was asked to stop",
                found=f"it still runs after {deadline_s:.0f} s",
                do=f"See {home.log_file}; `kill -9 {endpoint.pid}` ends it, and jobs go on all the same.",
            )
        time.sleep(_POLL_S)
    return endpoint


def command_line(home: Home, port: int | None = None, options: Sequence[str] = ()) -> list[str]:
    """The server's command line. -P: no file of the current folder may stand in for a module of the server."""
    return [
        *(sys.executable, "-P", "-m", "leyden.server", "--home", str(home.root)),
        *(("--port", str(port)) if port is not None else ()),
        *options,
    ]


def log_tail(home: Home, *, lines: int = 12, start: int = 0) -> str:
    """The last lines the server printed, from byte `start` of its log on."""
    try:
        with home.log_file.open("rb") as file:
            file.seek(start)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def _spawn(home: Home, port: int | None, options: Sequence[str]) -> subprocess.Popen[bytes]:
    import subprocess  # 13 ms; only who starts a server pays

    # Nothing of the job that this may be called from: a server is nobody's rank.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LEYDEN_") or key == "LEYDEN_HOME"}
    with home.log_file.open("ab") as log:
        return subprocess.Popen(
            command_line(home, port, options),
            cwd=home.root,  # so that no project folder is kept busy
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C and a closing terminal are not for it
        )


@contextmanager
def _starting(home: Home, until: float) -> Iterator[None]:
    """One starter at a time; the lock goes with the process that holds it."""
    import fcntl

    with (home.root / "starting.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UnreachableError(
                        asked="another command is starting the server",
                        found="it has not answered in time",
                        do=f"Try again, or see {home.log_file}.",
                    ) from None
                time.sleep(_POLL_S)
        yield


def _failed(home: Home, log_start: int, found: str) -> ServerError:
    tail = log_tail(home, start=log_start)
    said = "".join(f"\n    {line}" for line in tail.splitlines())
    return ServerError(
        asked="the server was started",
        found=f"{found}; it said:{said}\n" if said else found,
        do=f"The whole log is {home.log_file}.",
    )
