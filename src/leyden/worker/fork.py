"""How is a rank forked off this very process, where that has torch imported already, so that it notices no difference?

It leads its own session, has its own log as output, the environment and folder asked for, signals as a new program has
them, and then runs the script as `python script.py` does (leyden/worker/script.py). Where only a new interpreter would
do exactly what was asked, `why_not` says so, and one is started.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, final

from leyden.engines.inborn import inborn
from leyden.engines.record import REF_VARIABLE
from leyden.worker import script
from leyden.worker.title import set_ref, set_title

LONGEST_ORDER = 65536  # bytes; longer ones, by a vast environment, are not worth a second way
_HANDLED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)  # by the worker; a rank has them new


@dataclass(frozen=True, kw_only=True)
class _Birth:
    """What this process was born with."""

    variables: Mapping[str, str]
    threads: str  # OMP_NUM_THREADS
    path: Sequence[str]
    keep: frozenset[int]  # descriptors that modules opened while they were imported


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """A rank that waits."""

    child: Forked
    orders: socket.socket


_birth: _Birth | None = None
_ahead: _Ahead | None = None


def enable(environ: Mapping[str, str], path: Sequence[str], *, keep: frozenset[int]) -> None:
    """Allow forks off this process: it has imported everything, and has started no thread."""
    global _birth  # noqa: PLW0603  one a process, like the imports it stands for
    _birth = _Birth(variables=inborn(environ), threads=environ.get("OMP_NUM_THREADS", ""), path=path, keep=keep)


def why_not(argv: Sequence[str], environ: Mapping[str, str], cwd: Path) -> str:
    """Why such a rank must be started as a new interpreter; "" where a fork does the same."""
    if _birth is None:
        return "nothing is preloaded here"
    if argv[0] != sys.executable or len(argv) < 2 or not argv[1].endswith(".py") or argv[1].startswith("-"):
        return f"{' '.join(argv[:2])} is no script for {sys.executable}"
    if inborn(environ) != _birth.variables:
        changed = inborn(environ).items() ^ _birth.variables.items()
        return f"other values of {', '.join(sorted({key for key, _ in changed}))}"
    if not (cwd / argv[1]).is_file():
        return "there is no such script"  # Python says it in its own words
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        return "a thread runs in this process"
    shadows = script.shadows([*script.folders(cwd / argv[1]), *script.python_path(environ, cwd)])
    return f"it has its own {', '.join(shadows)}" if shadows else ""


@final
class Forked:
    """A child of this process, with as much of a Popen as the worker needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, minus the signal's number where one killed it; None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """The same, once it has ended."""
        while (code := self._reap(0)) is None:
            pass
        return code

    def _reap(self, flags: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def prepare() -> None:
    """Fork the first rank ahead: it waits to be told what to run. Only while this process has nothing else to do."""
    global _ahead  # noqa: PLW0603
    if _birth is None:
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        _ahead = _Ahead(child=Forked(pid), orders=ours)
        return
    try:
        os.setsid()
        ours.close()
        order, descriptors, _, _ = socket.recv_fds(theirs, LONGEST_ORDER, 1)
        if not order:  # no rank is forked after all, or the worker has died
            os._exit(0)
        argv, environ, cwd = pickle.loads(order)
        _be_rank(argv, environ, Path(cwd), descriptors[0])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def dismiss() -> None:
    """Let the rank go that was forked ahead, if it has got nothing to run."""
    global _ahead  # noqa: PLW0603
    if _ahead:
        _ahead.orders.close()
        _ahead.child.wait()
        _ahead = None


def fork_rank(argv: Sequence[str], environ: Mapping[str, str], cwd: Path, log: int) -> Forked:
    """A rank that prints into the descriptor `log` and leads its own session. Raises OSError."""
    global _ahead
    order = pickle.dumps((tuple(argv), dict(environ), str(cwd)))
    if _ahead and len(order) <= LONGEST_ORDER:
        with contextlib.suppress(OSError), _ahead.orders:  # it was killed meanwhile, or the order is too long for here
            socket.send_fds(_ahead.orders, [order], [log])
            child, _ahead = _ahead.child, None
            return child
    return _fork_now(argv, environ, cwd, log)


def _fork_now(argv: Sequence[str], environ: Mapping[str, str], cwd: Path, log: int) -> Forked:
    reader, writer = os.pipe()
    # A signal that comes in between must find the rank's own ways, not the worker's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            _be_rank(argv, environ, cwd, log, mask=before)
        os.close(writer)
        writer = -1
        os.read(reader, 1)  # until it has closed its end, as it leads its session by then
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    return Forked(pid)


def _be_rank(
    argv: Sequence[str], environ: Mapping[str, str], cwd: Path, log: int, *, mask: Iterable[int] = ()
) -> NoReturn:
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        assert _birth is not None
        _own_descriptors(log, _birth.keep)
        signal.set_wakeup_fd(-1)
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.chdir(cwd)
        _own_environ(environ)
        set_title(argv)
        set_ref(environ.get(REF_VARIABLE, ""))
        sys.modules["leyden.train.warm"].settle(environ, threads_before=_birth.threads)
        sys.path[:] = [*map(str, script.folders(cwd / argv[1])), *script.python_path(environ, cwd), *_birth.path]
        script.run(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)  # whatever happens, a rank never returns into the worker's code


def _own_environ(environ: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in environ.items() if os.environ.get(name) != value})


def _own_descriptors(log: int, keep: frozenset[int]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2 and int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:  # the one the listing itself was read through
                continue
