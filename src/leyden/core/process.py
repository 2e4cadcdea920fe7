"""Does that process of this machine still run, and is it that one or a later one of the same number?

Only the standard library, and of that only what starts fast: the worker imports this file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead but not yet reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):  # Linux only; elsewhere init reaps at once
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def birth(pid: int) -> str | None:
    """When the process was born, as text to compare; None where it is gone or only waits to be reaped."""
    if Path("/proc/self/stat").exists():
        words = stat_words(pid)
        return words[19] if words else None
    import subprocess  # 2 ms: every command of `leyden` imports this file

    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def stat_words(pid: int) -> list[str] | None:
    """Linux's words about a process from its state on: 0 state, 2 group, 19 start in ticks; None where it is dead."""
    try:
        # They follow the last ")", as a program's name may hold spaces and brackets.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if words[0] in "ZX" else words
