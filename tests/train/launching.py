"""How do tests start ranks as processes of their own, and hear what they found?"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from tests import hatchery

ROOT = Path(__file__).parents[2]


class Script:
    """Runs a script beside this file and reads what its ranks told."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path = folder, Path(__file__).with_name(name)
        self.environ = {**os.environ, "RESULTS": str(folder), "PYTHONPATH": str(ROOT)}

    def start(self, *args: str, **environ: str) -> hatchery.Program:
        return hatchery.start([str(self.path), *args], cwd=self.folder, environ=self.environ | environ)

    def run(self, *args: str, code: int = 0, **environ: str) -> str:
        done = self.start(*args, **environ)
        output, _ = done.communicate(timeout=120)
        assert done.returncode == code, output
        return output

    def start_ranks(self, count: int, *args: str, **environ: str) -> list[hatchery.Program]:
        """All ranks at once, as a launcher starts them."""
        port = str(free_port())
        common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
        common |= {"MASTER_PORT": port, **environ}
        return [self.start(*args, **{**common, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(count)]

    def run_ranks(self, count: int, *args: str, **environ: str) -> list[str]:
        processes = self.start_ranks(count, *args, **environ)
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * count, "\n".join(outputs)
        return outputs

    def told(self, rank: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"rank{rank}.json").read_text())
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)
    return path.read_text()


def nothing_is_left(folder: Path) -> None:
    """Every process that worked in the folder is gone, within seconds."""
    deadline, me = time.monotonic() + 10, os.getpid()
    while left := [one.pid for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder) and one.pid != me]:
        assert time.monotonic() < deadline, f"processes {left} still run in {folder}"
        time.sleep(0.05)
