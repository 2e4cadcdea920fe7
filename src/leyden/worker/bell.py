"""How does the worker sleep until a rank ends, somebody asks it to stop, or a time has come?

Signals write to a pipe that `wait` selects on, so nothing is missed between looking and sleeping.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType

from leyden.engines import record


class Bell:
    """Rings at any of the signals given."""

    def __init__(self, *signals: signal.Signals) -> None:
        self._rung: set[int] = set()
        self.term_saves = False  # see Launch
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, self._ring)

    def rung(self, *signals: signal.Signals) -> bool:
        """Whether any of the signals ever came."""
        return any(number in self._rung for number in signals)

    @property
    def cancels(self) -> bool:
        """Whether somebody wants the attempt to end for good."""
        return self.rung(signal.SIGINT) or (self.rung(signal.SIGTERM) and not self.term_saves)

    @property
    def saves(self) -> bool:
        """Whether it is to save and to go on later."""
        return self.rung(record.SAVE) or (self.rung(signal.SIGTERM) and self.term_saves)

    def wait(self, timeout_s: float) -> None:
        """Return at the next signal, at once if one came since the last wait, at the latest after the timeout."""
        select.select([self._reader], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def _ring(self, number: int, _frame: FrameType | None) -> None:
        self._rung.add(number)
