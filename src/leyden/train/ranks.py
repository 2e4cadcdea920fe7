"""Who trains together? This process's place among the ranks, and how they meet.

A launcher says who is who: torchrun, the Leyden worker or a person in RANK, WORLD_SIZE, …; Slurm in SLURM_* (slurm.py).
Without one, `devices=N` starts ranks by itself (launch.py).
"""

from __future__ import annotations

import atexit
import gc
import os
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from leyden.core.errors import RankError
from leyden.train import slurm, watchdog

TIMEOUT_S = 300.0
_TRIES = 8  # ports in a row that are tried where another program holds the one agreed on
_PROBE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class World:
    """This rank and how many there are."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = "the launcher"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, *, terminal: bool | None = None) -> World | None:
        """What a launcher said: torchrun's variables first, then Slurm's; None where there is no launcher."""
        launcher = "the launcher"
        if "RANK" not in environ or "WORLD_SIZE" not in environ:
            if terminal is None:
                terminal = sys.stdin is not None and sys.stdin.isatty()
            if not slurm.is_launch(environ, terminal=terminal):
                return None
            launcher, environ = "srun", slurm.launcher_variables(environ)
        size = int(environ["WORLD_SIZE"])
        return cls(
            rank=int(environ["RANK"]),
            size=size,
            local_rank=int(environ.get("LOCAL_RANK", "0")),
            local_size=int(environ.get("LOCAL_WORLD_SIZE", size)),
            launcher=launcher,
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


def join(world: World, device: torch.device, environ: Mapping[str, str] = os.environ) -> None:
    """Meet the other ranks, once a process; later Trainers use the same group.

    Raises RankError that names the ranks that did not come within LEYDEN_MEET_TIMEOUT_S seconds (300).
    """
    if world.size == 1 or dist.is_initialized():
        return
    timeout_s = float(environ.get("LEYDEN_RANK_TIMEOUT_S") or TIMEOUT_S)
    meet_s = float(environ.get("LEYDEN_MEET_TIMEOUT_S") or TIMEOUT_S)
    if world.launcher == "srun":
        environ = {**environ, **slurm.launcher_variables(environ)}
    store = _find_store(world, environ, meet_s)
    _await_everyone(world, store, meet_s)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),
        rank=world.rank,
        world_size=world.size,
        # The watchdog ends a run whose ranks wait too long, and says why; this is for what it cannot see.
        timeout=timedelta(seconds=timeout_s + 60),
    )
    watchdog.start(world.rank, world.size, store, timeout_s=timeout_s)
    atexit.register(leave)


def leave() -> None:
    """Destroy the group while the interpreter still stands.

    Gloo's threads hold tensors of finished collectives. A thread that frees one while Python goes down asks for a lock
    that is no longer given and takes the process with it (SIGABRT; seen in 1 of 40 exits, pytorch/pytorch#179291).
    """
    global _served  # noqa: PLW0603
    watchdog.stop()
    gc.collect()  # cycles that still hold the group, such as a module and its Trainer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dist.is_initialized():
            dist.destroy_process_group()
    _served = None


# Where the ranks meet -------------------------------------------------------------------------------------------------

_served: dist.TCPStore | None = None


def serve() -> int:
    """Open the meeting point of ranks that this process is about to start; returns its port, which nobody else holds."""
    global _served  # noqa: PLW0603  one world a process
    _served = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return int(_served.port)


def _find_store(world: World, environ: Mapping[str, str], timeout_s: float) -> dist.Store:
    """The key-value store that rank 0 serves, or torchrun's agent."""
    if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store, _, _ = next(iter(dist.rendezvous("env://", rank=world.rank, world_size=world.size)))
        return dist.PrefixStore("leyden", store)
    address, first = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    ports = range(first, min(first + _TRIES, 65536))
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "LEYDEN_JOB_ID", "LEYDEN_ATTEMPT")
    token = "/".join([str(first), str(world.size), *(environ.get(name, "") for name in names)])
    if world.rank != 0:
        return _look_for(world, address, ports, token, timeout_s)
    store = _served or _open(address, ports)
    store.set("world", token)  # so that others know it from another program's, or another job's
    return store


def _open(address: str, ports: range) -> dist.TCPStore:
    for port in ports:
        try:
            return dist.TCPStore(address, port, is_master=True, wait_for_workers=False)
        except dist.DistNetworkError as error:
            if "EADDRINUSE" not in str(error):
                raise
    raise RankError(
        asked=f"rank 0 was to wait for the others at {address}:{ports[0]}",
        found=f"other programs hold that port and the next {len(ports) - 1}",
        do="Set another MASTER_PORT.",
    )


def _look_for(world: World, address: str, ports: range, token: str, timeout_s: float) -> dist.TCPStore:
    """Try the ports in turn until rank 0 of this very world answers at one."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for port in ports:
            if _listens(address, port):
                try:
                    wait = timedelta(seconds=_PROBE_S)
                    store = dist.TCPStore(address, port, is_master=False, timeout=wait)
                    store.wait(["world"], wait)
                    if store.get("world").decode() == token:
                        return store
                except RuntimeError:
                    pass  # it is another program's
        time.sleep(0.1)
    raise RankError(
        asked=f"rank {world.rank} of {world.size} looked for rank 0 at {address}:{ports[0]}",
        found=f"rank 0 never arrived within {timeout_s:g} s",
        do="See whether it was started, and whether MASTER_ADDR and MASTER_PORT are the same for all and reachable.",
    )


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _await_everyone(world: World, store: dist.Store, timeout_s: float) -> None:
    deadline, missing = time.monotonic() + timeout_s, list(range(world.size))
    store.set(f"arrived/{world.rank}", f"{socket.gethostname()}:{os.getpid()}")
    while missing := [rank for rank in missing if not store.check([f"arrived/{rank}"])]:
        if time.monotonic() > deadline:
            raise RankError(
                asked=f"{world.size} ranks were to meet within {timeout_s:g} s",
                found=f"{len(missing)} of {world.size} ranks never arrived: rank {', '.join(map(str, missing))}",
                do="See why they were not started or did not get so far; LEYDEN_MEET_TIMEOUT_S sets the time allowed.",
            )
        time.sleep(0.02)
