"""What if the server dies just before, or just after, its n-th commit? For tests: LEYDEN_FAILPOINT=3:after."""

from __future__ import annotations

import os
import signal
from typing import Self, final

from leyden.core.errors import UsageError


@final
class Failpoint:
    """Kills this process at one commit; used by the thread that writes alone."""

    def __init__(self, number: int, *, before: bool) -> None:
        self._left = number
        self._before = before

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From "3", "3:before" or "3:after" (as is "3"); None from "". Raises UsageError."""
        if not text:
            return None
        number, _, when = text.partition(":")
        if not number.isdigit() or int(number) < 1 or when not in {"", "before", "after"}:
            raise UsageError(asked="LEYDEN_FAILPOINT", found=f"it is {text!r}", do="Write e.g. 3:before or 3:after.")
        return cls(int(number), before=when == "before")

    def reach(self, *, before: bool) -> None:
        """A commit is about to be made, or was made."""
        if before is not self._before:
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
