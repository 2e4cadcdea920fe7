"""Who encodes pictures and writes everything of a run that is no point, so that the training thread does not?

A thread of its own beside the writer of points, which must not wait for a picture: `kill -9` would lose more of them.
What waits stays below half a gigabyte; beyond that pictures are left out, as training must go on. A disk that is full
is tried again until there is room.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, final

MOST_WAITING_BYTES: Final = 1 << 29
_RETRY_S: Final = 1.0

Task = Callable[[], None]


@final
class Clerk:
    """Does tasks one after the other, in order. `what` names the run in warnings."""

    def __init__(self, what: str, *, most_bytes: int = MOST_WAITING_BYTES) -> None:
        self._what, self._most = what, most_bytes
        self._warned: set[str] = set()
        self._thread: threading.Thread | None = None
        self._clear()
        _clerks.add(self)

    def give(self, task: Task, size_bytes: int = 0) -> None:
        """Have it done; one that would make too much wait is left out, with a warning, once."""
        with self._changed:
            if size_bytes and self._waiting_bytes and self._waiting_bytes + size_bytes > self._most:
                self._complain("pictures and tables come faster than they can be written; some are left out")
                return
            self._tasks.append((task, size_bytes))
            self._waiting_bytes += size_bytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="leyden-clerk", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until everything given so far is done; False where it is not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks, timeout_s)

    def close(self) -> None:
        """Do what is left, trying each task once more, and end."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._closing = True
            self._changed.notify_all()
        if thread is not None:
            thread.join()
        self._closing = False  # what comes after the end starts another thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._closing)
                if not self._tasks:
                    return
                task, size_bytes = self._tasks[0]
            if not self._done(task):
                continue
            with self._changed:
                self._tasks.popleft()
                self._waiting_bytes -= size_bytes
                self._changed.notify_all()

    def _done(self, task: Task) -> bool:
        """Whether it is over with the task, for good or ill."""
        try:
            task()
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:  # will not pass
            self._complain(f"{error.strerror}: {error.filename}")
        except OSError as error:
            if not self._closing:
                self._complain(f"{error.strerror}; they are kept in memory and tried again. Make room on the disk")
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _RETRY_S)
                return False
            self._complain(f"at the end: {error.strerror}; what waited is lost")
        except Exception as error:
            self._complain(f"{type(error).__name__}: {error}"[:300])
        return True

    def _complain(self, why: str) -> None:
        if why not in self._warned:
            self._warned.add(why)
            with contextlib.suppress(Warning):  # under `python -W error` this thread must not end
                warnings.warn(f"pictures, tables or facts of {self._what} cannot be written: {why}.", stacklevel=2)

    def _clear(self) -> None:
        """Nothing waits; also in a forked child, where the parent's thread does not live and its tasks are its own."""
        self._tasks: deque[tuple[Task, int]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = None


_clerks: weakref.WeakSet[Clerk] = weakref.WeakSet()


def _clear_all() -> None:
    for clerk in list(_clerks):
        clerk._clear()


os.register_at_fork(after_in_child=_clear_all)
