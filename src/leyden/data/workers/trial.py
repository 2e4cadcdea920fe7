"""Are two threads faster than one? Some batches are made by both, then some by one alone."""

from __future__ import annotations

from statistics import median
from typing import Final, final

from leyden.data.workers.base import Worker
from leyden.data.workers.messages import Times
from leyden.data.workers.pool import Pool

_FIRST: Final = 2  # batches that do not count: code is loaded, files are opened
_CALM: Final = 4  # batches made by both, by which it is seen whether there is calm enough to measure anything
_ALONE: Final = 3  # batches made by one
_BOTH: Final = 8  # batches made by both
_LATER: Final = 32  # batches by both after which it is looked at again; twice as many each time
_LATEST: Final = 2048
_CROWDED: Final = 0.2  # of their time waited for a processor: others have it, downloads perhaps; nothing can be said
_PUT_OFF: Final = 8  # times at most


@final
class Trial:
    """Both come first, because the loop waits for the first batches; time without a processor does not count."""

    def __init__(self, pool: Pool, one: Worker, other: Worker) -> None:
        self._pool, self._one, self._other = pool, one, other
        self._skip, self._wanted, self._put_off, self._later = _FIRST, _CALM, 0, _LATER
        self._both: list[Times] = []
        self._alone: list[Times] = []

    def saw(self, times: Times) -> float | None:
        """A thread has made a batch. How many times as fast as one two are, whenever there is something new to say."""
        if self._pool.only is not None and self._other.tasks:
            return None
        if self._skip:
            self._skip -= 1
            return None
        alone = self._pool.only is not None
        seen = self._alone if alone else self._both
        seen.append(times)
        if len(seen) < (_ALONE if alone else self._wanted):
            return None
        if self._is_crowded(seen):
            seen.clear()
            return None
        if alone:
            self._pool.only, self._wanted = None, _BOTH
            return None
        return self._weigh()

    def _weigh(self) -> float | None:
        both = _seconds(self._both)
        self._both.clear()
        if not self._alone:
            self._pool.only, self._skip = self._one, 1  # what it made first, it did not make all alone
            return None
        self._wanted, self._later = self._later, min(_LATEST, 2 * self._later)
        return 2 * _seconds(self._alone) / max(both, 1e-9)

    def _is_crowded(self, seen: list[Times]) -> bool:
        """Whether it has to be tried again."""
        waited, whole = sum(times.queued for times in seen), sum(times.elapsed for times in seen)
        if waited <= _CROWDED * whole or self._put_off == _PUT_OFF:
            return False
        self._put_off += 1
        return True


def _seconds(times: list[Times]) -> float:
    return median(each.elapsed - each.queued for each in times)
