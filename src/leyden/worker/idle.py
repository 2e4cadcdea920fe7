"""For how long has nothing been done with a device that is held?"""

from __future__ import annotations

from typing import final

MARK_PERCENT = 5.0  # `leyden top` speaks of an idle GPU below that
NOTHING_PERCENT = 1.0  # NVML counts whole percents: 0 is "no kernel ran"
NOTHING_FAKE_PERCENT = 2.0  # of a CPU: an interpreter that sleeps in a loop takes as much


@final
class Quiet:
    """Seconds that a figure has been below a mark.

    >>> quiet = Quiet(below=5.0, now=100.0)
    >>> quiet.seconds(3.0, now=110.0), quiet.seconds(80.0, now=111.0), quiet.seconds(0.0, now=113.5)
    (10.0, 0.0, 2.5)
    """

    def __init__(self, *, below: float, now: float) -> None:
        self._below, self._since = below, now

    def seconds(self, figure: float | None, *, now: float) -> float:
        """So far, with the newest figure; one that cannot be read counts as above."""
        if figure is None or figure >= self._below:
            self._since = now
        return now - self._since
