"""What does the pool see of a worker, be it a process, a thread, or the caller itself?"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress

from leyden.data.workers.board import Board, Doing
from leyden.data.workers.messages import Answer, Task


def step_back() -> None:
    """Of this thread: one that hands it work does not lose its processor to it at once, but computes on."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class DiedError(Exception):
    """A worker is gone, surely: what it was writing to is nobody's now. Says how it ended."""


class Worker(ABC):
    """Makes the batches it is sent, one after the other. Used by the loader's thread alone."""

    is_ready = True  # whether it would begin at once

    def __init__(self, board: Board) -> None:
        self._board = board
        self.tasks: dict[int, Task] = {}  # sent, not answered; the first one is being worked on

    @abstractmethod
    def fileno(self) -> int:
        """Readable (select) when `collect` has something."""

    @abstractmethod
    def send(self, task: Task) -> None:
        """Never waits, unless the caller is the worker."""

    @abstractmethod
    def collect(self) -> list[Answer]:
        """What was made since the last call. Raises DiedError when it is gone, DataError if it could not begin."""

    @abstractmethod
    def name(self) -> str:
        """Kind and number, in words."""

    def hang_up(self) -> None:
        """Begin to end, so that many workers end at the same time."""
        return

    @abstractmethod
    def close(self) -> None:
        """End it. Twice does no harm."""

    def doing(self) -> tuple[Task, Doing] | None:
        """The task it is at and since when; None if it has none, or has not begun."""
        found = self._board.read()
        task = self.tasks.get(found.task)
        return None if task is None or found.row < 0 else (task, found)
