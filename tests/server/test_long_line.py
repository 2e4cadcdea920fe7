"""What if a program prints a gigabyte without a single end of line?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from leyden.client.handle import Handle
from tests.conformance.until import until
from tests.server.running import Running

BLOCKS, BLOCK_BYTES = 1024, 1 << 20
MORE_BYTES: Final = 100e6  # than before, in whichever process
SOON_S: Final = 15.0  # that includes the start of a program on a busy machine
LEYDEN: Final = str(Path(sys.executable).parent / "leyden")
LAST: Final = b"\nlast words\n"

PRINTS = f"""
import os, pathlib, sys, time
for number in range({BLOCKS}):
    sys.stdout.buffer.write((b"%08d" % number) * ({BLOCK_BYTES} // 8))
sys.stdout.buffer.flush()
folder = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
(folder / "printed").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
sys.stdout.buffer.write({LAST!r})
"""


def block(number: int) -> bytes:
    """One of those that make up the line."""
    return (b"%08d" % number) * (BLOCK_BYTES // 8)


@pytest.fixture
def log(server: Running) -> Iterator[tuple[str, Path]]:
    """A job that prints it, and its file, which is not left for pytest to keep."""
    job_id = server.submit(PRINTS)
    yield job_id, server.log_file(job_id)
    server.log_file(job_id).unlink(missing_ok=True)


@pytest.mark.slow
def test_a_line_of_a_gigabyte_passes_whole_and_nobody_holds_it(server: Running, log: tuple[str, Path]) -> None:
    job_id, file = log
    assert server.process
    environ = {**os.environ, "LEYDEN_HOME": str(server.home)}
    idle = {"server": peak_bytes(server.process.pid)}
    follower = subprocess.Popen([LEYDEN, "logs", "-f", job_id], env=environ, stdout=subprocess.PIPE)
    try:
        assert follower.stdout
        assert_blocks(follower.stdout, 0, BLOCKS)
        until((file.parents[1] / "printed").exists)
        worker = json.loads((file.parents[1] / "attempts/a1/worker.json").read_text())["worker"]["pid"]
        for first in range(0, BLOCKS, 128):  # any part can be had by itself
            query = f"offset={first * BLOCK_BYTES}&limit={16 * BLOCK_BYTES}"
            with server.open("GET", f"/api/jobs/{job_id}/logs?{query}") as response:
                assert_blocks(response, first, 16)
                assert response.read() == b""
        tail = soon(LEYDEN, "logs", "--tail", "1", job_id, environ=environ)
        assert block(BLOCKS - 1).endswith(tail[-BLOCK_BYTES:])
        assert len(tail) >= BLOCK_BYTES
        held = {"server": server.process.pid, "worker": worker, "follower": follower.pid}
        for who, pid in held.items():
            assert peak_bytes(pid) < idle.get(who, 0) + MORE_BYTES, who
        (file.parents[1] / "go").touch()
        assert follower.stdout.read() == LAST
        assert follower.wait(60) == 0
    finally:
        follower.kill()
        follower.communicate()
    assert server.wait(job_id)["state"] == "succeeded"
    assert file.stat().st_size == BLOCKS * BLOCK_BYTES + len(LAST)
    assert soon(LEYDEN, "logs", "--tail", "1", job_id, environ=environ) == LAST[1:]
    cut = soon(LEYDEN, "logs", "--tail", "2", job_id, environ=environ)
    assert cut.endswith(block(BLOCKS - 1)[-1000:] + LAST)
    assert sum(map(len, Handle(job_id, environ).logs())) == BLOCKS * BLOCK_BYTES + len(LAST) - 2


def assert_blocks(stream: IO[bytes], first: int, count: int) -> None:
    """The stream goes on with these."""
    for number in range(first, first + count):
        assert stream.read(BLOCK_BYTES) == block(number), number


def soon(*command: str, environ: dict[str, str]) -> bytes:
    """What a program prints that is to take no time."""
    begun = time.monotonic()
    done = subprocess.run(command, env=environ, capture_output=True, check=True)
    assert time.monotonic() - begun < SOON_S
    return done.stdout


def peak_bytes(pid: int) -> int:
    """The most memory it ever had in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
