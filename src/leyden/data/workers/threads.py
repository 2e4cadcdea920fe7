"""How does a worker live in the parent's own process: in a thread, or as the caller itself?"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import nullcontext
from queue import SimpleQueue
from time import perf_counter
from typing import final

from leyden.data.workers.base import Worker, step_back
from leyden.data.workers.board import Board
from leyden.data.workers.fill import Filler
from leyden.data.workers.messages import Answer, Setup, Task
from leyden.data.workers.ring import Memory
from leyden.data.workers.seeds import kept_globals


class _Inside(Worker):
    """What both have: an own filler, and an eventfd that says that something is there."""

    def __init__(self, number: int, setup: Setup, memory: Memory, *, seeds: bool) -> None:
        super().__init__(Board(memory, number))
        self._keeps = seeds and setup.seeds_globals
        self._number = number
        self._filler = Filler(setup, memory, self._board, seeds=seeds)
        self._made: deque[Answer] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The eventfd."""
        return self._bell

    def collect(self) -> list[Answer]:
        """All that lies there."""
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return []
        return [self._made.popleft() for _ in range(len(self._made))]

    def _make(self, task: Task, could: float) -> float:
        """Make what could have been begun at that time; when it was done (the bell may wait for Python's lock)."""
        with kept_globals() if self._keeps else nullcontext():
            answer = self._filler.fill(task)
        done = perf_counter()
        self._made.append(answer._replace(times=answer.times._replace(elapsed=done - could)))
        os.eventfd_write(self._bell, 1)
        return done


@final
class Caller(_Inside):
    """Makes a batch when it is asked for."""

    def __init__(self, number: int, setup: Setup, memory: Memory) -> None:
        super().__init__(number, setup, memory, seeds=True)

    def send(self, task: Task) -> None:
        """Make it now."""
        self.tasks[task.number] = task
        self._make(task, perf_counter())

    def name(self) -> str:
        """There is one."""
        return "the caller's thread"

    def close(self) -> None:
        """Files and eventfd."""
        if self._bell >= 0:
            self._filler.close()
            os.close(self._bell)
            self._bell = -1


@final
class Thread(_Inside):
    """A thread with a queue. With `seeds` it sets the global generators: nothing else may draw while it works."""

    def __init__(self, number: int, setup: Setup, memory: Memory, *, seeds: bool) -> None:
        super().__init__(number, setup, memory, seeds=seeds)
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._sent: deque[float] = deque()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=f"leyden-data-{number}", daemon=True)
        self._thread.start()

    def send(self, task: Task) -> None:
        """Into the queue."""
        self.tasks[task.number] = task
        self._sent.append(perf_counter())
        self._queue.put(task)

    def name(self) -> str:
        """With its number."""
        return f"worker thread {self._number}"

    def close(self) -> None:
        """It ends after the batch it is at; nobody waits for it longer than a moment."""
        self._is_over = True
        self._queue.put(None)
        self._thread.join(0.5)

    def _run(self) -> None:
        step_back()
        free = 0.0
        while (task := self._queue.get()) is not None and not self._is_over:
            free = self._make(task, max(self._sent.popleft(), free))
        self._filler.close()
        os.close(self._bell)
        self._bell = -1
