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
from typing import BinaryIO

from leyden.core.states import EXIT_PAUSE, EXIT_REQUEUE
from leyden.engines import record
from leyden.engines.base import Launch
from leyden.worker.fork import Forked, dismiss, fork_rank, why_not

_Process = subprocess.Popen[bytes] | Forked
GONE_WITHIN_S = 5.0  # how long SIGKILLed children may take to vanish; longer only in uninterruptible I/O


class Ranks:
    """The started processes, by rank."""

    def __init__(self, processes: Sequence[_Process]) -> None:
        self._started = processes
        self.processes = tuple(record.Process(pid=one.pid, birth=record.birth(one.pid) or "") for one in processes)
        self.first_failure: tuple[int, int] | None = None  # (rank, return code as Popen gives it)

    @property
    def count(self) -> int:
        """How many were started."""
        return len(self._started)

    def running(self) -> bool:
        """Whether any still runs; notes the first one that fails."""
        codes = [process.poll() for process in self._started]
        failed = [(rank, code) for rank, code in enumerate(codes) if code]
        if failed and self.first_failure is None:
            # Where several died since the last look, one that left on purpose was what the others died of.
            self.first_failure = next((one for one in failed if one[1] in {EXIT_REQUEUE, EXIT_PAUSE}), failed[0])
        return None in codes

    def signal(self, number: signal.Signals) -> None:
        """Send it to all that run."""
        for process in self._started:
            if process.poll() is None:
                _signal_group(process.pid, number)

    def kill(self) -> None:
        """End all of them and whatever is left of their process groups; returns when all are gone."""
        for process in self._started:
            _signal_group(process.pid, signal.SIGKILL)
        for process in self._started:
            process.wait()
        deadline = time.monotonic() + GONE_WITHIN_S
        while any(record.group_runs(process.pid) for process in self._started) and time.monotonic() < deadline:
            time.sleep(0.005)


def start_ranks(launch: Launch, environs: Sequence[Mapping[str, str]], cwd: Path) -> Ranks:
    """Start one process an environment; all or none. Raises OSError."""
    logs = Path(launch.run_dir) / "logs"
    logs.mkdir(exist_ok=True)
    start = _start if not launch.warm or why_not(launch.argv, environs[0], cwd) else _fork
    started: list[_Process] = []
    try:
        for rank, environ in enumerate(environs):
            with (logs / f"a{launch.number}-r{rank}.log").open("ab") as log:
                started.append(start(launch.argv, environ, cwd, log))
    except BaseException:
        Ranks(started).kill()
        raise
    finally:
        dismiss()
    return Ranks(started)


def _start(argv: Sequence[str], environ: Mapping[str, str], cwd: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=cwd, env=environ
    )


def _fork(argv: Sequence[str], environ: Mapping[str, str], cwd: Path, log: BinaryIO) -> Forked:
    return fork_rank(argv, environ, cwd, log.fileno())


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(group, number)
