"""Who trains together? This process's place among the ranks, and starting ranks where nobody else did.

torchrun and the Leyden worker say so in RANK, WORLD_SIZE, …. Without them `devices=N` starts N-1 more processes of the
same command line; their output goes to logs/a<n>-r<rank>.log of the run, and they never outlive this one.
"""

from __future__ import annotations

import atexit
import gc
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from leyden.core.errors import ConfigurationError
from leyden.track.run import Run

TIMEOUT_S = 300
_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class World:
    """This rank and how many there are."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> World | None:
        """What a launcher said, None where there is none."""
        if "RANK" not in environ or "WORLD_SIZE" not in environ:
            return None
        size = int(environ["WORLD_SIZE"])
        return cls(
            rank=int(environ["RANK"]),
            size=size,
            local_rank=int(environ.get("LOCAL_RANK", "0")),
            local_size=int(environ.get("LOCAL_WORLD_SIZE", size)),
        )

    def gather(self, item: Any) -> list[Any]:
        """One item of every rank, on every rank. Collective."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def share(self, item: Any) -> Any:
        """Rank 0's item, on every rank. Collective."""
        if self.size == 1:
            return item
        box = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag stands on any rank. Collective."""
        if self.size == 1:
            return flag
        return any(self.gather(flag))


def join(world: World, device: torch.device) -> None:
    """Meet the other ranks, once a process; later Trainers use the same group."""
    if world.size == 1 or dist.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=timedelta(seconds=TIMEOUT_S))
    except Exception as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise ConfigurationError(
            asked=f"rank {world.rank} of {world.size} looked for the others at {address}",
            found=f"they did not meet within {TIMEOUT_S} s: {error}",
            do="See whether every rank was started, and whether MASTER_ADDR and MASTER_PORT are the same for all.",
        ) from error
    atexit.register(_leave)


def start_local(count: int, run: Run) -> World:
    """Start ranks 1 … count-1 of this command line on this machine, and become rank 0."""
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules or not sys.orig_argv[1:]:
        raise ConfigurationError(
            asked=f"devices={count} in an interactive session",
            found="more ranks need a script that each of them can run",
            do="Save the code as a file and run `python train.py`, or use devices=1.",
        )
    threads = max(1, torch.get_num_threads() // count)
    environ = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LEYDEN_RUN_DIR": str(run.path),
        "LEYDEN_ATTEMPT": str(run.attempt),
        "OMP_NUM_THREADS": str(threads),
    }
    torch.set_num_threads(threads)
    os.environ.update(environ, RANK="0", LOCAL_RANK="0")
    children = [_start(rank, {**os.environ, **environ}, run) for rank in range(1, count)]
    _Watch(children, run).start()
    return World(rank=0, size=count, local_rank=0, local_size=count)


def _start(rank: int, environ: dict[str, str], run: Run) -> subprocess.Popen[bytes]:
    log = _log_file(run, rank)
    log.parent.mkdir(parents=True, exist_ok=True)
    environ = {
        **environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LEYDEN_PARENT_PID": str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]], env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def _log_file(run: Run, rank: int) -> Path:
    return run.path / "logs" / f"a{run.attempt}-r{rank}.log"


class _Watch(threading.Thread):
    """Ends this process when a rank it started fails, and its ranks when this process ends."""

    def __init__(self, children: list[subprocess.Popen[bytes]], run: Run) -> None:
        super().__init__(name="leyden-ranks", daemon=True)
        self._children, self._run_record, self._over = children, run, threading.Event()
        atexit.register(self._end)

    def run(self) -> None:
        while not self._over.wait(0.2):
            if any(child.poll() for child in self._children):
                if not self._over.wait(_GRACE_S):  # mostly the main thread ends by itself: it lost the connection
                    self._end()
                    os._exit(1)
                return

    def _end(self) -> None:
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

    def _report(self, rank: int, code: int) -> None:
        if code:
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

    threading.Thread(target=watch, name="leyden-parent", daemon=True).start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _leave() -> None:
    """Destroy the group while the interpreter still stands.

    Gloo's threads hold tensors of finished collectives. A thread that frees one while Python goes down asks for a lock
    that is no longer given and takes the process with it (SIGABRT; seen in 1 of 40 exits, pytorch/pytorch#179291).
    """
    gc.collect()  # cycles that still hold the group, such as a module and its Trainer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dist.is_initialized():
            dist.destroy_process_group()
