"""How does a forked process show its own command line and reference to `ps`, `pgrep` and those who clean up?

Both are read out of the memory that the kernel filled when the program was started, so they are written there. The
engine started it with room to spare.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from leyden.engines.record import REF_VARIABLE


def set_title(words: Sequence[str]) -> None:
    """Show this command line, cut where it is longer than the room. The real one stays as it is."""
    start, end, _, _ = _places()
    room = end - start
    text = os.fsencode(" ".join(words))[: room - 2]
    # Where the last byte is not zero, Linux shows what stands before the first zero (fs/proc/base.c, get_mm_cmdline).
    ctypes.memmove(start, text.ljust(room - 1, b"\0") + b"-", room)


def set_ref(engine_ref: str) -> None:
    """Let /proc/<pid>/environ name the attempt, as it does where a rank was started and not forked."""
    _, _, start, end = _places()
    name = f"{REF_VARIABLE}=".encode()
    found = ctypes.string_at(start, end - start)
    at = found.find(b"\0" + name) + 1 if not found.startswith(name) else 0
    room = found.find(b"\0", at) - at - len(name)
    if (at or found.startswith(name)) and len(engine_ref) <= room:
        ctypes.memmove(start + at + len(name), engine_ref.encode().ljust(room, b"\0"), room)


def _places() -> tuple[int, int, int, int]:
    """Where arguments and environment begin and end: the last but one fields of /proc/self/stat (proc(5): 48 to 51)."""
    words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(words[45]), int(words[46]), int(words[47]), int(words[48])
