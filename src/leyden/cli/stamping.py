"""How does each line of a log get the time at which it was printed?"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import final

Pairs = list[tuple[int, float]]  # bytes so far, seconds since 1970
_PAUSE_S = 0.02


@final
class Stamper:
    """Writes on what it is given, each line behind its time; behind a dash where nobody noted that.

    `ask(attempt, after)` gives the first pairs that reach beyond byte `after`; `attempt` says whose bytes come now. A
    line may come before its pair, which is noted up to a quarter of a second later: `wait_s` is how long to wait.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        ask: Callable[[int, int], Pairs],
        *,
        attempt: Callable[[], int],
        offset: int = 0,
        wait_s: float,
    ) -> None:
        self._write, self._ask = write, ask
        self._of, self._attempt, self._offset = attempt, attempt(), offset
        self._wait_s = wait_s
        self._pairs: deque[tuple[int, float]] = deque()
        self._within = False  # a line whose beginning was written already

    def __call__(self, chunk: bytes) -> None:
        """Write it."""
        if (attempt := self._of()) != self._attempt:
            self._attempt, self._offset, self._within = attempt, 0, False
            self._pairs.clear()
        parts = [line + b"\n" for line in chunk.split(b"\n")]  # a progress bar's \r ends no line
        parts[-1] = parts[-1][:-1]
        lines, known = [], True
        for line in filter(None, parts):
            if not self._within:
                at = self._time() if known else None
                known = at is not None
                lines.append(_said(at))
            lines.append(line)
            self._within = not line.endswith(b"\n")
            self._offset += len(line)
        self._write(b"".join(lines))

    def _time(self) -> float | None:
        """Of the byte that is written next."""
        end = time.monotonic() + self._wait_s
        while True:
            while self._pairs and self._pairs[0][0] <= self._offset:
                self._pairs.popleft()
            if not self._pairs:
                self._pairs.extend(self._ask(self._attempt, self._offset))
            if self._pairs:
                return self._pairs[0][1]
            if time.monotonic() >= end:
                self._wait_s = 0.0  # its worker has died, or its disk is full: once is enough
                return None
            time.sleep(_PAUSE_S)


def _said(at: float | None) -> bytes:
    """
    >>> _said(1_763_748_000.0005), _said(None)
    (b'2025-11-21T18:00:00.000Z ', b'                       - ')
    """
    if at is None:
        return b"%24s " % b"-"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03d}Z ".encode()
