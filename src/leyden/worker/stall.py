"""Does an attempt still get on, and where does it hang if it does not?

Progress is what every program shows without its help: its output grows, its record of metrics grows, a checkpoint
appears. Stacks come from Python itself: ranks start with PYTHONFAULTHANDLER=1, so at SIGABRT Python prints the stack of
each thread, in C, whether or not the interpreter is stuck, and dies. Not py-spy: it must trace a process that is not
its child, which containers and Linux's Yama refuse. Not a handler of ours in a sitecustomize: it hides the user's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from leyden.engines import record
from leyden.engines.base import Launch

LEADERS_WITHIN_S, CHILDREN_WITHIN_S = 2.0, 3.0  # stacks are printed within milliseconds, but the machine may be busy


@final
class Progress:
    """Watches what the ranks of one attempt leave on disk."""

    def __init__(self, launch: Launch, *, now: float) -> None:
        run_dir, number = Path(launch.run_dir), launch.number
        ranks = range(launch.ranks)
        self._files = [
            *(run_dir / f"logs/a{number}-r{rank}.log" for rank in ranks),
            *(run_dir / f"metrics/a{number}-r{rank}.frames" for rank in ranks),
            run_dir / "checkpoints",
        ]
        self._seen: list[tuple[int, int]] = []
        self._since = now

    def stalled_s(self, *, now: float) -> float:
        """Seconds since something was last new, as far as looks like this one could tell."""
        seen = [_mark(path) for path in self._files]
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since


def dump_stacks(launch: Launch, ranks: Sequence[record.Process], why: str) -> None:
    """End every rank such that its stacks stand in its log: first its own process, then those it started."""
    for rank, process in enumerate(ranks):
        log = Path(launch.run_dir) / f"logs/a{launch.number}-r{rank}.log"
        _write(log, f"leyden: {why.partition(';')[0]}; where each thread is:\n")
        _abort(process)
    _until_gone(ranks, LEADERS_WITHIN_S)
    end = time.monotonic() + CHILDREN_WITHIN_S
    for child in _members({process.pid for process in ranks}):
        _abort(child)
        _until_gone([child], min(1.0, end - time.monotonic()))  # one by one: they share a file


def _abort(process: record.Process) -> None:
    if not record.lives(process):
        return
    with contextlib.suppress(OSError):
        import resource

        if hasattr(resource, "prlimit"):  # Linux: no core file of a hundred gigabytes
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        os.kill(process.pid, signal.SIGABRT)


def _until_gone(processes: Iterable[record.Process], within_s: float) -> None:
    end = time.monotonic() + within_s
    while any(record.lives(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.005)


def _members(groups: set[int]) -> list[record.Process]:
    """What else runs in these process groups."""
    import psutil

    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) in groups and (birth := record.birth(pid)):
                found.append(record.Process(pid=pid, birth=birth))
    return found


def _mark(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


def _write(path: Path, line: str) -> None:
    with contextlib.suppress(OSError), path.open("a") as log:
        log.write(line)
