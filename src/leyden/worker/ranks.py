"""How are the processes of an attempt started, and how do all of them end?

Each rank leads its own session, so a signal to its process group reaches its children too, and writes straight to its
log file: no pipe, no pump, nothing lost when the worker or the server dies.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from leyden.engines import record
from leyden.engines.base import Launch

GONE_WITHIN_S = 5.0  # how long SIGKILLed children may take to vanish; longer only in uninterruptible I/O


class Ranks:
    """The started processes, by rank."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._popen = processes
        self.processes = tuple(record.Process(pid=one.pid, birth=record.birth(one.pid) or "") for one in processes)
        self.first_failure: tuple[int, int] | None = None  # (rank, return code as Popen gives it)

    @property
    def count(self) -> int:
        """How many were started."""
        return len(self._popen)

    def running(self) -> bool:
        """Whether any still runs; notes the first one that fails."""
        alive = False
        for rank, process in enumerate(self._popen):
            code = process.poll()
            alive = alive or code is None
            if code and self.first_failure is None:
                self.first_failure = (rank, code)
        return alive

    def signal(self, number: signal.Signals) -> None:
        """Send it to all that run."""
        for process in self._popen:
            if process.poll() is None:
                _signal_group(process.pid, number)

    def kill(self) -> None:
        """End all of them and whatever is left of their process groups; returns when all are gone."""
        for process in self._popen:
            _signal_group(process.pid, signal.SIGKILL)
        for process in self._popen:
            process.wait()
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(record.group_runs(process.pid) for process in self._popen) and time.monotonic() < deadline:
            time.sleep(0.005)


def start_ranks(launch: Launch, environs: Sequence[Mapping[str, str]], cwd: Path) -> Ranks:
    """Start one process an environment; all or none. Raises OSError."""
    logs = Path(launch.run_dir) / "logs"
    logs.mkdir(exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for rank, environ in enumerate(environs):
            with (logs / f"a{launch.number}-r{rank}.log").open("ab") as log:
                started.append(
                    subprocess.Popen(
                        launch.argv,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        cwd=cwd,
                        env=environ,
                    )
                )
    except BaseException:
        Ranks(started).kill()
        raise
    return Ranks(started)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(group, number)
