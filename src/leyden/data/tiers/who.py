"""Which process wrote this file, and does it still run? Names of lease, pin and part files carry the answer."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from leyden.core.process import alive


def me() -> str:
    """pid, start time and pid namespace of this process: "812-93412-4026531836"."""
    return _name(os.getpid())


@cache
def _name(pid: int) -> str:
    return f"{pid}-{_started(pid)}-{_namespace()}"


def runs(who: str) -> bool | None:
    """Whether that process still runs; None if it cannot be seen from here (another container that shares the folder).

    >>> runs(me()), runs(f"{os.getpid()}-1-{_namespace()}"), runs("1-1-1")
    (True, False, None)
    """
    try:
        pid, started, namespace = (int(part) for part in who.split("-"))
    except ValueError:
        return False
    if namespace != _namespace():
        return None
    return alive(pid) and _started(pid) == started


def _started(pid: int) -> int:
    """Clock ticks from boot to the process's start (proc(5), field 22): a pid used again has another."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return -1


@cache
def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
