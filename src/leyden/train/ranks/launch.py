"""How do ranks start on this machine where no launcher has started them?

A script: N-1 more processes run the same command line. A notebook or a prompt has no command line to run again: there
the ranks are forked off this process for the length of one call, with module and data as they are; rank 0 is this
process itself, so weights and metrics need not come back from anywhere. Their output goes to logs/a<n>-r<rank>.log of
the run, and they never outlive this process.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import psutil
import torch

from leyden.core.errors import ConfigurationError
from leyden.track.run import Run
from leyden.train.ranks import watchdog
from leyden.train.ranks import world as ranks
from leyden.train.ranks.world import World

_GRACE_S = 5.0


def start_local(count: int, run: Run) -> World:
    """Start ranks 1 … count-1 on this machine; this process becomes rank 0, and what was forked off the others.

    In a notebook the forked ranks live until `end_call`. PyTorch computes in one thread in them, as its
    pool does not survive a fork; a notebook that has used a GPU before cannot be forked (ConfigurationError).
    """
    threads = max(1, torch.get_num_threads() // count)
    environ = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(ranks.open_door()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LEYDEN_RUN_DIR": str(run.path),
        "LEYDEN_ATTEMPT": str(run.attempt),
        "OMP_NUM_THREADS": str(threads),
    }
    (run.path / "logs").mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    if is_interactive():
        return _fork_all(count, environ, run)
    os.environ.update(environ, RANK="0", LOCAL_RANK="0")
    children = [_start(rank, {**os.environ, **environ}, run) for rank in range(1, count)]
    keeper = Keeper(children, run)
    atexit.register(keeper.end)
    watchdog.before_end(keeper.end)
    keeper.start()
    return World(rank=0, size=count, local_rank=0, local_size=count)


def is_interactive() -> bool:
    """Whether a notebook or a prompt runs this process, so that its command line would not do the same again."""
    return hasattr(sys, "ps1") or "ipykernel" in sys.modules or sys.orig_argv[1:2] in ([], ["-"])


def _start(rank: int, environ: dict[str, str], run: Run) -> subprocess.Popen[bytes]:
    environ = {**environ, **_own(rank), "PYTHONUNBUFFERED": "1"}
    with _log_file(run, rank).open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]], env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def _own(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "LEYDEN_PARENT_PID": str(os.getpid())}


def _log_file(run: Run, rank: int) -> Path:
    return run.path / "logs" / f"a{run.attempt}-r{rank}.log"


# Watching over them ---------------------------------------------------------------------------------------------------


class Child(Protocol):
    """What `subprocess.Popen` can do, of which this is needed."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


class Keeper(threading.Thread):
    """Ends this process when a rank it started fails, and its ranks when this process ends."""

    def __init__(self, children: Sequence[Child], run: Run) -> None:
        super().__init__(name="leyden-ranks", daemon=True)
        self._children, self._run_record, self._over = children, run, threading.Event()
        self._reported: set[int] = set()

    def run(self) -> None:
        while not self._over.wait(0.2):
            if any(child.poll() for child in self._children):
                if not self._over.wait(_GRACE_S * 2):  # mostly the main thread ends by itself: it lost the connection
                    self.end()
                    os._exit(1)
                return

    def end(self) -> bool:
        """Every rank is gone afterwards, and those that failed have been named."""
        self._over.set()
        deadline = time.monotonic() + _GRACE_S
        for rank, child in enumerate(self._children, start=1):
            try:
                code = child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            else:
                self._report(rank, code)
        return False

    def kill(self) -> None:
        """Every rank ends at once."""
        for child in self._children:
            child.kill()

    def _report(self, rank: int, code: int) -> None:
        if code and rank not in self._reported:
            self._reported.add(rank)
            log = _log_file(self._run_record, rank)
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
            print(f"rank {rank} {how}; the end of {log}:\n{tail}", file=sys.stderr, flush=True)


def follow_parent(environ: Mapping[str, str] = os.environ) -> None:
    """In a rank that another rank started: end when that one is gone, however it ended."""
    parent = environ.get("LEYDEN_PARENT_PID")
    if parent is None or int(parent) != os.getppid():
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os._exit(1)

    def end_if_stopped() -> bool:
        if psutil.Process(int(parent)).status() == psutil.STATUS_STOPPED:  # held by a debugger it is "tracing-stop"
            os.kill(int(parent), signal.SIGKILL)
        return False

    threading.Thread(target=watch, name="leyden-parent", daemon=True).start()
    watchdog.before_end(end_if_stopped)  # it could not end by itself with the others


# In a notebook --------------------------------------------------------------------------------------------------------


class _Forked:
    """A process forked off this one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout if timeout is not None else 1e9)
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked rank", timeout or 0.0)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What rank 0 puts back in order when a call with forked ranks ends."""

    keeper: Keeper
    environ: Mapping[str, str]
    threads: int


_call: _Call | None = None
_is_forked = False


def _fork_all(count: int, environ: dict[str, str], run: Run) -> World:
    global _call  # noqa: PLW0603  calls of one process do not overlap
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise ConfigurationError(
            asked=f"devices={count} in a notebook",
            found="the notebook has used a GPU already, and CUDA cannot be forked",
            do="Restart it and leave GPUs to the Trainer; or save the code as a file and run `python train.py`.",
        )
    before, parent = dict(os.environ), os.getpid()
    children: list[_Forked] = []
    for rank in range(1, count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads exist, and are not needed in the rank
            pid = os.fork()
        if pid == 0:
            _become(rank, {**environ, **_own(rank), "LEYDEN_PARENT_PID": str(parent)}, run)
            return World(rank=rank, size=count, local_rank=rank, local_size=count)
        children.append(_Forked(pid))
    os.environ.update(environ, RANK="0", LOCAL_RANK="0")
    _call = _Call(keeper=Keeper(children, run), environ=before, threads=torch.get_num_threads() * count)
    watchdog.before_end(_end_forked)
    return World(rank=0, size=count, local_rank=0, local_size=count)


def _become(rank: int, environ: Mapping[str, str], run: Run) -> None:
    """This process is a rank from now on: it speaks into its log and never comes back to the prompt."""
    global _is_forked  # noqa: PLW0603
    _is_forked = True
    log = os.open(_log_file(run, rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(old, new)
    sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.update(environ)
    ranks.close_door(for_all=False)
    torch.set_num_threads(1)  # OpenMP's threads stayed behind, and asking for them would wait for ever
    follow_parent()


def end_call(error: BaseException | None) -> None:
    """The end of a call of the Trainer, where ranks were forked for it: they end here, rank 0 waits for them."""
    global _call
    if _is_forked:
        _end_rank(error)
    if _call is None:
        return
    call, _call = _call, None
    ranks.leave()
    call.keeper.end()
    os.environ.clear()
    os.environ.update(call.environ)
    torch.set_num_threads(call.threads)


def _end_forked() -> bool:
    """End the ranks of the call, so that rank 0's collectives fail and it comes back to the prompt."""
    if _call is not None:
        _call.keeper.kill()
    return True


def _end_rank(error: BaseException | None) -> NoReturn:
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)
