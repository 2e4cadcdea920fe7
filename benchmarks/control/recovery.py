"""What does a SIGKILL of the server cost: how long is it away, and are accepted jobs still there?

Jobs run and others wait meanwhile. Each time it is started again at once; its start counts. Slurm's controller is
treated the same way, in turn.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass, field

from benchmarks.control.common import ENVIRON, Asked, Ours, both, half, server, until
from benchmarks.control.slurm import Slurm, cluster

from leyden.client import embedded
from leyden.client.api import Client
from leyden.core.job import make_job

RUNNING, WAITING, ACCEPTED = min(2, os.cpu_count() or 1), 200, 20
SETTLED_S = 6.0  # Slurm writes its state down within five seconds; the first kill is to come after that
HELD = make_job({"command": ["true"], "hold": True})
SLEEPS = make_job({"command": ["sleep", "600"], "gpus": 1, "cpus": 1, "ranks": 1})


@dataclass(frozen=True, kw_only=True)
class Found:
    """Seconds, a kill each; how many of the jobs accepted right before a kill were lost."""

    answers: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def recovery(asked: Asked) -> None:
    """After SIGKILL."""
    with server() as ours, cluster() as slurm:
        found = {"Leyden": Found()}
        keys = [_submit(ours.client, SLEEPS) for _ in range(RUNNING)]
        pids = {key: _pid(ours.client, key) for key in keys}
        for _ in range(WAITING):
            _submit(ours.client, HELD)
        if slurm:
            found["Slurm"] = Found()
            theirs = _fill_slurm(slurm)
            time.sleep(SETTLED_S)
        client = ours.client
        for _ in range(asked.rounds):
            client = _kill_ours(ours, client, found["Leyden"], pids)
            if slurm:
                _kill_slurm(slurm, found["Slurm"], theirs)
        for key in keys:
            client.cancel(key)
        for key in keys:
            client.wait(key)
    _report(asked, found)


def _kill_ours(ours: Ours, client: Client, found: Found, pids: dict[str, int]) -> Client:
    accepted = {_submit(client, HELD) for _ in range(ACCEPTED)}
    os.kill(client.endpoint.pid or 0, signal.SIGKILL)
    begin = time.perf_counter()
    client = Client(embedded.start(ours.home))
    found.answers.append(time.perf_counter() - begin)
    assert {key: _pid(client, key) for key in pids} == pids
    found.known.append(time.perf_counter() - begin)
    found.lost.append(len(accepted - {one.id for one in client.jobs(limit=10_000)}))
    return client


def _kill_slurm(slurm: Slurm, found: Found, running: list[str]) -> None:
    accepted = {slurm.submit("--hold") for _ in range(ACCEPTED)}
    slurm.kill_controller()
    begin = time.perf_counter()
    slurm.start_controller()
    until(lambda: _listens(slurm.port), pause_s=0.002)  # squeue itself asks again only after a second
    until(lambda: slurm.answers("squeue", "-h"), pause_s=0.002)
    found.answers.append(time.perf_counter() - begin)
    until(lambda: all(slurm.queue().get(job) == "RUNNING" for job in running), pause_s=0.002)
    found.known.append(time.perf_counter() - begin)
    found.lost.append(len(accepted - set(slurm.queue())))


def _fill_slurm(slurm: Slurm) -> list[str]:
    running = [slurm.submit(command="exec sleep 600") for _ in range(RUNNING)]
    for _ in range(WAITING):
        slurm.submit("--hold")
    until(lambda: all(slurm.queue().get(job) == "RUNNING" for job in running))
    return running


def _submit(client: Client, job: object) -> str:
    assert isinstance(job, type(HELD))
    return client.submit(job, code="", cwd="/", submit_dir="/", environ=ENVIRON, user="ada").id


def _pid(client: Client, job: str) -> int:
    def pid() -> int | None:
        attempts = client.job(job).attempts
        return attempts[-1].pid if attempts else None

    until(pid)
    return pid() or 0


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _report(asked: Asked, found: dict[str, Found]) -> None:
    asked.title(f"The server is killed: {RUNNING} jobs run, {WAITING} wait, {ACCEPTED} were accepted just before")
    columns = ("answers again, ms: p50", "p90", "knows what runs, ms: p50", "p90", "accepted jobs lost")
    asked.head("", *columns)
    for name, one in found.items():
        lost = f"{sum(one.lost)} of {ACCEPTED * len(one.lost)}"
        asked.row(name, *both(one.answers), *both(one.known), lost)
    if "Slurm" in found:
        share = half(found["Leyden"].answers) / half(found["Slurm"].answers)
        asked.say(f"\nLeyden is away {share:.1f} times as long as Slurm. Its running jobs had the pids of before.")
