"""A real S3 server: rclone's, on a folder, on a port of its own, ended by its process id."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conformance.until import until


@contextmanager
def s3_server(folder: Path, *, etags: bool = True) -> Iterator[int]:
    """Serves the folder's subfolders as buckets, without signatures; gives the port.

    With etags it reads an object whole for each request, even for a range of it: not for timings.
    """
    port = free_port()
    program = Path(sys.executable).with_name("rclone")
    flags = (
        f"serve s3 --addr 127.0.0.1:{port} --vfs-cache-mode off --config /dev/null --dir-cache-time 10ms --no-modtime"
    )
    server = subprocess.Popen(
        [program, *flags.split(), *([] if etags else ["--etag-hash", ""]), folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _listens(port))
        yield port
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
