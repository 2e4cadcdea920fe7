"""What does a worker process run? Tasks from its socket, until that is closed: `python -m leyden.data.workers`."""

from __future__ import annotations

import signal

# Ctrl-C and what Slurm sends to all processes is the parent's to answer: this one ends when that does. Handlers that do
# nothing are not inherited by programs that a transform starts, SIG_IGN would be.
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(each, lambda *_: None)

import ctypes  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import traceback  # noqa: E402
from contextlib import suppress  # noqa: E402

from leyden.data.workers.base import step_back  # noqa: E402
from leyden.data.workers.board import Board  # noqa: E402
from leyden.data.workers.fill import Filler  # noqa: E402
from leyden.data.workers.messages import Channel, Failed, Ready  # noqa: E402
from leyden.data.workers.parcel import unpack  # noqa: E402
from leyden.data.workers.ring import Memory  # noqa: E402


def main() -> None:
    """Arguments: descriptors of socket, batches and setup; the worker's number; the parent's pid."""
    end, memory_fd, setup_fd, number, parent = map(int, sys.argv[1:])
    step_back()
    _keep_memory()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    connection = socket.socket(fileno=end)
    threading.Thread(target=_watch, args=(connection, parent), daemon=True).start()
    channel, memory = Channel(connection), Memory(memory_fd)
    try:
        filler = Filler(unpack(setup_fd), memory, Board(memory, number))
    except BaseException:
        channel.send(Failed(trace=traceback.format_exc()))
        sys.exit(1)
    gc.freeze()  # a data set of a million tuples is not to be looked through for garbage again and again
    channel.send(Ready())
    while True:
        channel.send(filler.fill(channel.wait()))


def _keep_memory() -> None:
    """What a picture was decoded into serves the next one: pages that go back to the kernel come again cleared.

    That took a third of the time of pictures of two megapixels. At most 512 MB stay, in blocks of up to 32 MB.
    """
    with suppress(AttributeError, OSError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD


def _watch(connection: socket.socket, parent: int) -> None:
    """End when the parent has closed the socket or is gone, whatever a transform is doing.

    The socket alone does not tell: a process that the parent forked may hold its end open.
    """
    poll = select.poll()
    poll.register(connection, 0)
    while not poll.poll(2000) and os.getppid() == parent:
        pass
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    try:
        main()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)
