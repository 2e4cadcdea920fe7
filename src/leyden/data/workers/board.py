"""What is each worker doing right now? Written before every sample, read only when one hangs or dies."""

from __future__ import annotations

from time import monotonic_ns
from typing import Final, NamedTuple, final

from leyden.data.workers.ring import Memory

_WORDS: Final = 8  # of a worker: a cache line
MOST: Final = 4096  # workers


class Doing(NamedTuple):
    """Row `row` of task `task`, for `since_s` seconds; -1 is none."""

    task: int
    row: int
    since_s: float


@final
class Board:
    """One worker's line on the board in slot 0."""

    def __init__(self, memory: Memory, worker: int) -> None:
        self._words = memoryview(memory.map(0, MOST * _WORDS * 8)).cast("q")
        self._at = worker % MOST * _WORDS
        self.write(-1, -1)  # zeros would be task 0, row 0

    def write(self, task: int, row: int) -> None:
        """From now on."""
        words, at = self._words, self._at
        words[at], words[at + 1], words[at + 2] = task, row, monotonic_ns()

    def read(self) -> Doing:
        """What was written last."""
        task, row, since = self._words[self._at : self._at + 3]
        return Doing(task, row, (monotonic_ns() - since) / 1e9)
