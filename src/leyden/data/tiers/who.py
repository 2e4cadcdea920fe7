"""Which process wrote this file, and does it still run? Names of lease, pin and part files carry the answer."""

from __future__ import annotations

import itertools
import os
from functools import cache
from pathlib import Path

from leyden.core.process import alive

_serial = itertools.count()


def sign() -> str:
    """A new name each time: pid, start time, pid namespace and a number: "812-93412-4026531836-0"."""
    return f"{os.getpid()}-{_started(os.getpid())}-{_namespace()}-{next(_serial)}"


def pid_of(who: str) -> str:
    """The pid in it, for messages."""
    return who.partition("-")[0]


def runs(who: str) -> bool | None:
    """Whether that process still runs; None if it cannot be seen from here (another container that shares the folder).

    >>> runs(sign()), runs(f"{os.getpid()}-1-{_namespace()}-0"), runs("1-1-1-0"), runs("rubbish")
    (True, False, None, False)
    """
    try:
        pid, started, namespace, _ = (int(part) for part in who.split("-"))
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
        return 0


@cache
def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
