"""How do tests run the many programs that import torch, on two cores? Each is forked off one process that has it.

That saves three seconds of CPU a program. It is what the server does with jobs (leyden/worker/fork.py), whose own tests
say that a program notices no difference.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from leyden.engines.inborn import inborn

ROOT = Path(__file__).parents[1]
_hatchery: tuple[socket.socket, dict[str, str]] | None = None  # and what is inborn in its programs


@final
class Program:
    """One that runs, with as much of a Popen as tests need; it prints errors where it prints all else."""

    def __init__(self, pid: int, output: int | None, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._output, self._status = output, status

    def communicate(self, timeout: float) -> tuple[str, None]:
        """All it has printed, once it has ended and everybody who prints with it."""
        end, read = time.monotonic() + timeout, b""
        assert self._output is not None
        while piece := self._read(self._output, end):
            read += piece
        self.wait(end - time.monotonic())
        os.close(self._output)
        return read.decode(errors="replace"), None

    def wait(self, timeout: float) -> int:
        """The exit code as Popen gives it."""
        if self.returncode is None:
            self.returncode = int(self._read(self._status, time.monotonic() + timeout))
            os.close(self._status)
        return self.returncode

    def kill(self) -> None:
        """By SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def _read(self, descriptor: int, end: float) -> bytes:
        if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            os.killpg(self.pid, signal.SIGKILL)
            raise TimeoutError(f"process {self.pid} did not end in time")
        return os.read(descriptor, 1 << 16)


def start(words: Sequence[str], *, cwd: Path, environ: Mapping[str, str], output: int | None = None) -> Program:
    """`python *words`, the first of which is a script; what it prints goes to `output`, else to `communicate`."""
    reader, writer = (None, os.dup(output)) if output is not None else os.pipe()
    told, tells = os.pipe()
    try:
        control, born = _ready()
        mine = {key: value for key, value in environ.items() if key not in inborn(environ)}
        order = pickle.dumps(([sys.executable, *words], {**mine, **born}, str(cwd)))
        socket.send_fds(control, [order], [writer, tells])
        answer = control.recv(1 << 16).decode()
    finally:
        os.close(writer)
        os.close(tells)
    assert answer.isdecimal(), answer  # or every test would be slow, and nobody knew why
    return Program(int(answer), reader, told)


def run(words: Sequence[str], *, cwd: Path, environ: Mapping[str, str], within_s: float = 150) -> tuple[int, str]:
    """The exit code and all that was printed."""
    program = start(words, cwd=cwd, environ=environ)
    output, _ = program.communicate(within_s)
    return program.wait(1), output


def _ready() -> tuple[socket.socket, dict[str, str]]:
    global _hatchery  # noqa: PLW0603  one for all tests of this process
    if _hatchery is None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {**os.environ, "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with theirs:
            words = [sys.executable, __file__, str(theirs.fileno())]
            process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=environ, cwd="/")
        assert ours.recv(100) == b"ready"
        _hatchery = ours, inborn(environ)

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
    return _hatchery


def _serve(control: socket.socket) -> None:
    """The program: import all, then fork whatever is asked for, until the tests are over."""
    from leyden.worker import fork, nursery, script

    environ = dict(os.environ)
    foreign = script.python_path(environ, Path("/"))
    path = [one for one in sys.path[1:] if one not in foreign]
    nursery.preload()
    opened = {int(one.name) for one in Path("/proc/self/fd").iterdir()}
    fork.enable(environ, path, keep=frozenset(opened - {control.fileno()}))
    nursery.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for the programs is nobody's to wait for
    control.send(b"ready")
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        if not order:
            control.close()
            return
        output, tells = descriptors
        if not os.fork():
            _wait_for(control, order, output, tells)
        os.close(output)
        os.close(tells)


def _wait_for(control: socket.socket, order: bytes, output: int, tells: int) -> None:
    from leyden.worker import fork

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    argv, environ, cwd = pickle.loads(order)
    if why := fork.why_not(argv, environ, Path(cwd)):
        control.send(f"no program is forked for {argv[1:]}: {why}".encode())
        os._exit(1)
    child = fork.fork_rank(argv, environ, Path(cwd), output)
    os.close(output)
    control.send(str(child.pid).encode())
    os.write(tells, str(child.wait()).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
