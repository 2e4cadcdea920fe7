"""What does a worker process run? Tasks from its socket, until that is closed: `python -m leyden.data.workers`."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer

import mmap  # noqa: E402
import os  # noqa: E402
import pickle  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import traceback  # noqa: E402

from leyden.data.workers.board import Board  # noqa: E402
from leyden.data.workers.fill import Filler  # noqa: E402
from leyden.data.workers.messages import Channel, Failed, Ready, Setup  # noqa: E402
from leyden.data.workers.ring import Memory  # noqa: E402


def main() -> None:
    """Arguments: descriptors of socket, batches and setup; the worker's number; the parent's pid."""
    end, memory_fd, setup_fd, number, parent = map(int, sys.argv[1:])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    connection = socket.socket(fileno=end)
    threading.Thread(target=_watch, args=(connection, parent), daemon=True).start()
    channel, memory = Channel(connection), Memory(memory_fd)
    try:
        filler = Filler(_unpack(setup_fd), memory, Board(memory, number))
    except BaseException:
        channel.send(Failed(trace=traceback.format_exc()))
        sys.exit(1)
    channel.send(Ready())
    while True:
        channel.send(filler.fill(channel.wait()))


def _unpack(fd: int) -> Setup:
    """First the parent's paths, then what needs them."""
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as parcel:
        os.close(fd)
        sys.path[:], path = pickle.load(parcel)
        del os.environ["PYTHONPATH"]  # was set to find leyden
        if path is not None:
            os.environ["PYTHONPATH"] = path
        setup: Setup = pickle.load(parcel)
    return setup


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
