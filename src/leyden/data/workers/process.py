"""How does a worker process live? Started afresh (never forked), fed over a socket, gone when its parent is.

A fork would copy a process full of threads and CUDA; a fresh one of Python and NumPy begins in a fifth of a second. It
gets the batches' memory and its setup as open files. Functions and classes of the user's `__main__` go by value, so
the script is not run again, and torch is imported only if what they refer to imports it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, final

from leyden.data.errors import DataError
from leyden.data.workers.base import DiedError, Worker
from leyden.data.workers.board import Board
from leyden.data.workers.messages import Answer, Channel, Failed, Ready, Task
from leyden.data.workers.parcel import Parcel
from leyden.data.workers.ring import Memory

_PACKAGES: Final = str(Path(__file__).parents[3])
_GRACE_S: Final = 0.3


@final
class Process(Worker):
    """`python -m leyden.data.workers`."""

    is_ready = False

    def __init__(self, number: int, parcel: Parcel, memory: Memory) -> None:
        super().__init__(Board(memory, number))
        self._number = number
        ours, theirs = socket.socketpair()
        fds = theirs.fileno(), memory.fd, parcel.fd
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "leyden.data.workers", *map(str, fds), str(number), str(os.getpid())],
                env=_environment(),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=2,  # what workers print goes where the parent's errors go
            )
        self._channel = Channel(ours)
        self.pid = self._process.pid

    def fileno(self) -> int:
        """The socket."""
        return self._channel.fileno()

    def send(self, task: Task) -> None:
        """Over the socket."""
        self.tasks[task.number] = task
        self._channel.post(task)

    def collect(self) -> list[Answer]:
        """Read the socket; its end is the worker's."""
        found = []
        self._channel.post()
        try:
            messages = self._channel.fetch()
        except EOFError:
            raise DiedError(f"{self.name()} {self._end()}") from None
        for message in messages:
            if isinstance(message, Answer):
                found.append(message)
            elif isinstance(message, Ready):
                self.is_ready = True
            elif isinstance(message, Failed):
                raise DataError(
                    asked=f"{self.name()} was started",
                    found=f"it could not load data set, transform or collate:\n{message.trace}",
                    do='See that worker processes can import what they need, or give kind="thread".',
                )
        return found

    def name(self) -> str:
        """With its pid."""
        return f"worker {self._number} (pid {self.pid})"

    def close(self) -> None:
        """It ends when its socket does, also within a sample; if not soon, it is killed."""
        self._channel.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def hang_up(self) -> None:
        """Begin to end, so that many workers end at the same time."""
        self._channel.close()

    def _end(self) -> str:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed its socket but lives: it must not write any more
            self._process.kill()
            code = self._process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _environment() -> dict[str, str]:
    """As the parent's, with leyden to be found and one thread for NumPy's and torch's arithmetic."""
    path = os.environ.get("PYTHONPATH")
    found = {**os.environ, "PYTHONPATH": os.pathsep.join([_PACKAGES, *([path] if path else [])])}
    found.setdefault("OMP_NUM_THREADS", "1")
    return found
