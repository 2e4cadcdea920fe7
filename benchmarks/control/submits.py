"""What does a submit cost: of one job by program and by hand, of many at once, and beside it Slurm's?

All jobs are held, so that nothing runs beside it. Leyden's are on disk before the answer.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.control.common import ENVIRON, LEYDEN, Asked, Ours, both, half, ninety, rate, server, took
from benchmarks.control.databases import SQLITE, databases
from benchmarks.control.slurm import cluster

from leyden.core.job import make_job

SINGLES, CHUNK, BATCH = 60, 10, 1000
SCRIPT = {"command": ["true"], "hold": True, "cpus": 1}
ISSUE_RATE = 1000  # submits a second through the batch API: what was asked for


def submits(asked: Asked) -> None:
    """One by one, and a thousand at once."""
    with ExitStack() as stack:
        kinds = stack.enter_context(databases())
        servers = {name: stack.enter_context(server("--database", make())) for name, make in kinds.items()}
        slurm = stack.enter_context(cluster())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ones: dict[str, Callable[[], object]] = {
            f"Leyden, a request of its API, {name}": partial(_request, ours) for name, ours in servers.items()
        }
        ones["Leyden, `leyden submit`, " + SQLITE] = partial(_command_line, servers[SQLITE], folder)
        batches: dict[str, Callable[[], object]] = {
            f"Leyden, a batch, {name}": partial(_batch, ours) for name, ours in servers.items()
        }
        if slurm:
            ones["Slurm, `sbatch`"] = partial(slurm.submit, "--hold")
            batches["Slurm, an array, which is one record"] = partial(slurm.submit, "--hold", f"--array=1-{BATCH}")
        one = _in_turn(ones, SINGLES // CHUNK, CHUNK)
        many = _in_turn(batches, asked.rounds, 1)
    asked.title("A submit, one after the other")
    asked.head("", "p50 ms", "p90 ms", "a second")
    for name, times in one.items():
        asked.row(name, *both(times), f"{len(times) / sum(times):,.0f}")
    asked.title(f"Submits, {BATCH:,} in one request")
    asked.head("", "jobs/s: median (least–most)", "p50 s", "p90 s")
    for name, times in many.items():
        asked.row(name, rate(times, BATCH), f"{half(times):.3f}", f"{ninety(times):.3f}")


def _in_turn(kinds: dict[str, Callable[[], object]], rounds: int, each: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds + 1):
        for name, work in kinds.items():
            found = [took(work) for _ in range(each)]
            times[name] += found if number else []  # the first round warms up
    return times


def _request(ours: Ours) -> object:
    return ours.client.submit(make_job(SCRIPT), code="", cwd="/", submit_dir="/", environ=ENVIRON, user="ada")


def _command_line(ours: Ours, folder: str) -> object:
    words = (*LEYDEN, "submit", "--hold", "--cpus", "1", "--", "true")
    environ = {**ENVIRON, "LEYDEN_HOME": str(ours.home.root)}
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, check=True)


def _batch(ours: Ours) -> None:
    assert len(set(ours.batch(SCRIPT, BATCH, os.urandom(8).hex()))) == BATCH
