"""What if the server dies just before, or just after, its n-th commit?

For tests: LEYDEN_FAILPOINT=3:after, or 3:after:FILE to count from when there is such a file.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Self, final

from leyden.core.errors import UsageError


@final
class Failpoint:
    """Kills this process at one commit; used by the thread that writes alone."""

    def __init__(self, number: int, *, before: bool, since: Path | None = None) -> None:
        self._left = number
        self._before = before
        self._since = since

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From "3:before", "3:after" or either with ":FILE"; None from "". Raises UsageError."""
        if not text:
            return None
        number, when, since = [*text.split(":", 2), "", ""][:3]
        if not number.isdigit() or int(number) < 1 or when not in {"before", "after"}:
            raise UsageError(asked="LEYDEN_FAILPOINT", found=f"it is {text!r}", do="Write e.g. 3:before or 3:after.")
        return cls(int(number), before=when == "before", since=Path(since) if since else None)

    def reach(self, *, before: bool) -> None:
        """A commit is about to be made, or was made."""
        if before is not self._before or (self._since and not self._since.exists()):
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
