"""How does a server learn of a bare `python train.py`, that it runs and how it ended?

When its run opens, $LEYDEN_HOME/bare/<id> names its folder; at exit finished.json says how it ended. A program that is
killed leaves none: whoever finds its process gone (pid and birth stand in run.json) knows as much.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from leyden.core.home import Home
from leyden.track import facts

FINISHED_FILE: Final = "finished.json"
FINISHED, FAILED, KILLED = "finished", "failed", "killed"

_code: object = None  # what sys.exit was called with


def announce(path: Path) -> None:
    """Leave word in LEYDEN_HOME; a program must not fail because it cannot."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home directory
        root = Home.from_environ().root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts.write(root / "bare" / path.name, str(path.absolute()))


def listen() -> None:
    """Remember what the program calls sys.exit with: nothing else tells code at exit about it."""
    real = sys.exit
    if getattr(real, "_of_leyden", False):
        return

    def leave(code: Any = None, /) -> None:
        global _code  # noqa: PLW0603  a process ends once
        if threading.current_thread() is threading.main_thread():  # elsewhere it ends a thread
            _code = code
        real(code)

    leave._of_leyden = True  # type: ignore[attr-defined]
    _exit: Callable[..., Any] = leave
    sys.exit = _exit


def ending() -> str:
    """How this process is about to end; asked at exit."""
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:  # there an exception ends a cell, not the program
        return FINISHED
    error = getattr(sys, "last_value", None)  # set before code at exit runs, whatever excepthook does
    return FAILED if _code not in (None, 0) and error is None else of_error(error)


def of_error(error: BaseException | None) -> str:
    """The state that an exception which nobody catches ends a run in."""
    if isinstance(error, KeyboardInterrupt):
        return KILLED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return FINISHED
    return FINISHED if error is None else FAILED


def finish(path: Path, state: str) -> None:
    """Put on record how the run ended; where that cannot be written, nobody is told."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            facts.write(path / FINISHED_FILE, json.dumps({"state": state, "at": time.time()}))
