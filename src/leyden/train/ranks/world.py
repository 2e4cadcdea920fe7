"""Who trains together? This process's place among the ranks, and how they meet.

A launcher says who is who: torchrun, the Leyden worker or a person in RANK, WORLD_SIZE, …; Slurm in SLURM_* (slurm.py).
Without one, `devices=N` starts ranks by itself (launch.py).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from leyden.core.errors import RankError
from leyden.train.ranks import slurm, watchdog

TIMEOUT_S = 300.0
_TRIES = 8  # ports in a row that are tried where another program holds the one agreed on


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


def join(world: World, device: torch.device) -> None:
    """Meet the other ranks, once a process; later Trainers use the same group.

    Raises RankError that names the ranks that did not come within LEYDEN_MEET_TIMEOUT_S seconds (300).
    """
    global _store  # noqa: PLW0603
    if world.size == 1 or dist.is_initialized():
        return
    timeout_s = float(os.environ.get("LEYDEN_RANK_TIMEOUT_S") or TIMEOUT_S)
    meet_s = float(os.environ.get("LEYDEN_MEET_TIMEOUT_S") or TIMEOUT_S)
    if world.launcher == "srun":  # told to everybody in this process in torchrun's words
        os.environ.update(slurm.launcher_variables(os.environ))
    store = _find_store(world, os.environ, meet_s)
    _await_everyone(world, store, meet_s)
    close_door()
    _store = store.clone()  # type: ignore[attr-defined]
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore("group", store),
        rank=world.rank,
        world_size=world.size,
        # The watchdog ends a run whose ranks wait too long, and says why; this is for what it cannot see.
        timeout=timedelta(seconds=timeout_s + 60),
    )
    watchdog.start(world.rank, world.size, store, timeout_s=timeout_s)
    atexit.register(leave)


def await_all(world: World, what: str) -> None:
    """Until every rank has done something that may take long, as a download: not a collective, so without a time-out.

    An error of another rank ends the wait as it ends everything; a rank that vanishes is its launcher's to notice.
    """
    if world.size == 1:
        return
    if _store is None:  # the group is the user's own
        dist.barrier()
        return
    count = _store.add(f"done/{what}", 1)
    enough = -(-count // world.size) * world.size
    while _store.add(f"done/{what}", 0) < enough:
        time.sleep(0.05)


def leave() -> None:
    """Destroy the group while the interpreter still stands.

    Gloo's threads hold tensors of finished collectives. A thread that frees one while Python goes down asks for a lock
    that is no longer given and takes the process with it (SIGABRT; seen in 1 of 40 exits, pytorch/pytorch#179291).
    """
    global _store  # noqa: PLW0603
    watchdog.stop()
    _store = None
    gc.collect()  # cycles that still hold the group, such as a module and its Trainer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dist.is_initialized():
            dist.destroy_process_group()


# Where the ranks meet -------------------------------------------------------------------------------------------------

_door: socket.socket | None = None
_store: Store | None = None


def open_door() -> int:
    """Listen for the ranks that this process is about to start; returns the port, which nobody else can take."""
    global _door  # noqa: PLW0603  one world a process
    _door = socket.create_server(("127.0.0.1", 0))
    return int(_door.getsockname()[1])


def close_door(*, for_all: bool = True) -> None:
    """Everybody is here. Not `for_all`: in a forked rank, whose copy of rank 0's door is of no use."""
    global _door  # noqa: PLW0603
    if _door is not None:
        if for_all:
            with contextlib.suppress(OSError):
                _door.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for guests
        _door.close()
    _door = None


def _find_store(world: World, environ: Mapping[str, str], timeout_s: float) -> Store:
    """The key-value store that rank 0 serves, or torchrun's agent.

    Rank 0 says at MASTER_PORT, or one of the next where another program holds it, whose it is and where its store is.
    """
    global _door  # noqa: PLW0603
    if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        store, _, _ = next(iter(rendezvous("env://", rank=world.rank, world_size=world.size)))
        return PrefixStore("leyden", store)
    address, first = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
    ports = range(first, min(first + _TRIES, 65536))
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "LEYDEN_JOB_ID", "LEYDEN_ATTEMPT")
    world_name = ":".join(["leyden", str(first), str(world.size), *(environ.get(name, "") for name in names)])
    if world.rank == 0:
        _door = door = _door or _listen(address, ports)
        served = TCPStore(address, 0, is_master=True, wait_for_workers=False)
        threading.Thread(target=_greet, args=(door, f"{world_name} {served.port}\n"), daemon=True).start()
        return served
    port = _ask_the_way(world, address, ports, world_name, time.monotonic() + timeout_s)
    return TCPStore(address, port, is_master=False)


def _listen(address: str, ports: range) -> socket.socket:
    for port in ports:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise RankError(
        asked=f"rank 0 was to wait for the others at {address}:{ports[0]}",
        found=f"other programs hold that port and the next {len(ports) - 1}",
        do="Set another MASTER_PORT.",
    )


def _greet(door: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):  # it is closed once the ranks have met
        while True:
            guest, _ = door.accept()
            with guest, contextlib.suppress(OSError):
                guest.sendall(line.encode())


def _ask_the_way(world: World, address: str, ports: range, world_name: str, deadline: float) -> int:
    """The port of rank 0's store: whoever holds one of the ports is asked until rank 0 of this very world answers."""
    why = ""
    while time.monotonic() < deadline:
        for port in ports:
            try:
                with socket.create_connection((address, port), timeout=2.0) as rank0, rank0.makefile() as lines:
                    name, _, found = lines.readline(1000).strip().partition(" ")
            except (OSError, UnicodeDecodeError) as error:  # nobody yet, or another program
                why = why if port > ports[0] else f": {error}"
                continue
            if name == world_name:
                return int(found)
        time.sleep(0.1)
    raise RankError(
        asked=f"rank {world.rank} of {world.size} looked for rank 0 at {address}:{ports[0]}",
        found=f"rank 0 never arrived{why}",
        do="See whether it was started, and whether MASTER_ADDR and MASTER_PORT are the same for all and reachable; "
        "LEYDEN_MEET_TIMEOUT_S sets the time allowed.",
    )


def _await_everyone(world: World, store: Store, timeout_s: float) -> None:
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
