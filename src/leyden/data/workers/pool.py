"""Who makes the next batch, and what if its maker dies? Workers started once, each with a few tasks in its queue."""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from leyden.data.errors import DataError
from leyden.data.workers.base import DiedError, Worker
from leyden.data.workers.messages import Answer, Task

_STILLBORN: Final = 8  # workers in a row that died before they were ready


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """A worker is dead; its tasks are nobody's. `at` is the one it was working on."""

    why: str
    at: int | None
    row: int
    tasks: list[Task]


@final
class Pool:
    """Workers of one kind or several. Used by the loader's thread alone; nothing here waits but `wait`."""

    def __init__(self, *, depth: int) -> None:
        self.depth = depth
        self.only: Worker | None = None  # gets all new tasks, while it lives
        self._reserve: set[Worker] = set()  # those that get the batch that is waited for, while no other is ready
        self._retired: set[Worker] = set()
        self._poll = select.epoll()
        self._by_fd: dict[int, Worker] = {}
        self._makers: dict[int, Callable[[int], Worker]] = {}
        self._made = 0
        self._stillborn = 0

    @property
    def workers(self) -> list[Worker]:
        """Those that live and may get tasks."""
        return [worker for worker in self._by_fd.values() if worker not in self._retired]

    def watch(self, fd: int) -> None:
        """`wait` returns when this can be read, too."""
        self._poll.register(fd, select.EPOLLIN)

    def add(self, make: Callable[[int], Worker], *, is_reserve: bool = False) -> Worker:
        """One more worker, made by `make(number)`; by the same again if it dies."""
        worker = make(self._made)
        self._made += 1
        self._by_fd[worker.fileno()] = worker
        self._makers[worker.fileno()] = make
        self._poll.register(worker.fileno(), select.EPOLLIN)
        if is_reserve:
            self._reserve.add(worker)
        return worker

    def retire(self, worker: Worker) -> None:
        """No more tasks for this one; it ends when it has none."""
        self._retired.add(worker)

    def room(self, *, is_awaited: bool = False) -> Worker | None:
        """The worker with the fewest tasks, if it may have one more. `is_awaited`: the caller waits for this batch."""
        able = [self.only] if self.only else self.workers
        ready = [worker for worker in able if worker.is_ready and worker not in self._reserve]
        if not ready:
            ready = [worker for worker in self._reserve if is_awaited] if self._reserve else able
        found = min(ready, key=lambda worker: len(worker.tasks), default=None)
        return found if found and len(found.tasks) < self.depth else None

    def wait(self, timeout_s: float) -> tuple[list[tuple[Task, Answer]], list[Lost]]:
        """What has been made, and who has died, as soon as there is something to see, or after that time."""
        made: list[tuple[Task, Answer]] = []
        lost: list[Lost] = []
        for fd, _ in self._poll.poll(timeout_s):
            worker = self._by_fd.get(fd)
            if worker is None:
                continue
            try:
                for answer in worker.collect():
                    made.append((worker.tasks.pop(answer.number), answer))
            except DiedError as error:
                lost.append(self._replace(worker, str(error)))
            if worker.is_ready:
                self._stillborn = 0
        for worker in [worker for worker in self._retired if not worker.tasks]:
            self._forget(worker)
            worker.close()
        return made, lost

    def _replace(self, worker: Worker, why: str) -> Lost:
        doing, fd = worker.doing(), worker.fileno()
        make = self._makers[fd]
        self._forget(worker)
        worker.close()
        if not worker.is_ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise DataError(
                    asked="worker processes were started",
                    found=f"{self._stillborn} in a row died before they were ready, the last one: {why}",
                    do='See their output above, the memory that is left, or give kind="thread".',
                )
        first = next(iter(worker.tasks), None) if worker.is_ready else None  # one that never began is no task's fault
        at = doing[0].number if doing else first
        found = Lost(why=why, at=at, row=doing[1].row if doing else -1, tasks=list(worker.tasks.values()))
        self.add(make)
        return found

    def _forget(self, worker: Worker) -> None:
        fd = worker.fileno()
        self._poll.unregister(fd)
        del self._by_fd[fd], self._makers[fd]
        self._retired.discard(worker)
        self.only = None if worker is self.only else self.only
        self._reserve.discard(worker)

    def close(self) -> None:
        """End all, at the same time."""
        for worker in self._by_fd.values():
            worker.hang_up()
        for worker in self._by_fd.values():
            worker.close()
        self._by_fd.clear()
        self._makers.clear()
        self._poll.close()
