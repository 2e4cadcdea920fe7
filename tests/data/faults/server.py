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
def s3_server(folder: Path) -> Iterator[int]:
    """Serves the folder's subfolders as buckets, without signatures; gives the port."""
    port = free_port()
    program = Path(sys.executable).with_name("rclone")
    command = [
        program,
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--vfs-cache-mode",
        "off",
        "--config",
        "/dev/null",
    ]
    server = subprocess.Popen(
        [*map(str, command), "--dir-cache-time", "10ms", "--no-modtime", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
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
