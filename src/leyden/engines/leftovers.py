"""Which processes did a dead worker leave behind? They hold devices, so they must go before the devices are free.

Two ways to find them, as each misses some: the session every rank was started in (survives a cleared environment),
and the attempt's reference in the environment (survives a new session, and a worker that died before noting its ranks).
`python -m leyden.engines.leftovers <attempt folder> <reference>` does so on the node of a cluster.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from leyden.engines.record import REF_VARIABLE, WorkerFile, birth, read_worker

ROUNDS, ROUND_S = 20, 0.02


def kill_leftovers(file: WorkerFile | None, engine_ref: str) -> bool:
    """SIGKILL everything found, again until nothing is; False where something does not die, as in stuck I/O."""
    ranks = file.ranks if file else ()
    if file and file.started_at and psutil.boot_time() > file.started_at:
        ranks = ()  # the machine was restarted since: those numbers belong to others now
    sessions = {rank.pid for rank in ranks if birth(rank.pid) in (None, rank.birth)}
    found: list[psutil.Process] = []
    for _ in range(ROUNDS):
        dying = {one for one in found if _lives(one)}  # one that gives its memory back shows no environment any more
        found = [one for one in psutil.process_iter() if one in dying or _belongs(one, sessions, engine_ref)]
        if not found:
            return True
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(ROUND_S)
    return False


def _lives(process: psutil.Process) -> bool:
    """Whether it is that very process, and not only waits to be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _belongs(process: psutil.Process, sessions: set[int], engine_ref: str) -> bool:
    try:
        if not _lives(process) or process.pid == os.getpid():
            return False
        return os.getsid(process.pid) in sessions or process.environ().get(REF_VARIABLE) == engine_ref
    except (psutil.Error, OSError):  # gone, or somebody else's
        return False


if __name__ == "__main__":
    sys.exit(not kill_leftovers(read_worker(Path(sys.argv[1])), sys.argv[2]))
