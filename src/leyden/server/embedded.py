"""How do clients find the server of a home folder, and how is there never more than one?"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator

import leyden
from leyden.core.errors import ServerError
from leyden.core.home import Home
from leyden.engines.record import replace

HOST = "127.0.0.1"


@contextlib.contextmanager
def lock_home(home: Home) -> Iterator[None]:
    """Hold the home for this process's life; the kernel lets go of it however the process ends. Raises ServerError."""
    with home.lock_file.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ServerError(
                asked=f"starting a server on {home.root}",
                found=f"one already runs there, with pid {file.read().strip() or 'unknown'}",
                do="Use that one, stop it with `leyden server stop`, or set LEYDEN_HOME to another folder.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def listen(home: Home, port: int) -> socket.socket:
    """A listening socket on loopback. Without a port asked for, the last one if it is free: workers that outlived the
    server before know that address. Raises ServerError."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. asyncio sets it only where the socket names its protocol; without it, every answer on a
    # connection that is kept waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((HOST, port or _last_port(home)))
    except (OSError, OverflowError) as error:
        if port:
            listener.close()
            raise _cannot_listen(port, error) from None
        listener.bind((HOST, 0))
    listener.listen(512)
    return listener


def remember_port(home: Home, listener: socket.socket) -> None:
    """For the next server of this home."""
    replace(home.root / "server.port", str(listener.getsockname()[1]))


def publish(home: Home, *, url: str, token: str) -> None:
    """Tell clients of the same user how to reach the server."""
    found = {"url": url, "pid": os.getpid(), "token": token, "version": leyden.__version__}
    replace(home.server_file, json.dumps(found))


def withdraw(home: Home, pid: int) -> None:
    """Remove what was published, if it is still ours."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        if json.loads(home.server_file.read_text())["pid"] == pid:
            home.server_file.unlink()


def _last_port(home: Home) -> int:
    try:
        return int((home.root / "server.port").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _cannot_listen(port: int, error: Exception) -> ServerError:
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    return ServerError(
        asked=f"the server is to listen on port {port}",
        found="another program listens there" if taken else f"that is not possible: {error}",
        do="Give another port with `--port`, or none to take any free one.",
    )
