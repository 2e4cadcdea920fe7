"""How many tiny jobs a second go from their submit to their end, and how does a long queue slow one job down?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

from benchmarks.control.common import ENVIRON, Asked, Ours, both, rate, server, took
from benchmarks.control.databases import databases
from benchmarks.control.slurm import Slurm, cluster
from benchmarks.control.told import Told

from leyden.core.job import make_job

JOBS, ROUNDS = 40, 3
WIDE = 64  # CPUs that a second Slurm is told it has: then its own work is the limit, not how long a job holds a CPU
TINY = {"command": ["true"], "gpus": 0, "cpus": 1}
QUEUED, PROBES = 9_900, 12


def throughput(asked: Asked) -> None:
    """Of jobs that do nothing."""
    cpus = os.cpu_count()
    with server() as ours, cluster() as slurm, cluster(WIDE) as wide:
        told = Told(ours.client)
        kinds: dict[str, Callable[[], None]] = {f"Leyden, a batch, {cpus} at a time": partial(_ours, ours, told)}
        if slurm and wide:
            kinds[f"Slurm, an array, {cpus} at a time"] = partial(_slurm, slurm, 1, f"--array=1-{JOBS}")
            kinds[f"Slurm, an array, {WIDE} at a time"] = partial(_slurm, wide, 1, f"--array=1-{JOBS}")
            kinds[f"Slurm, `sbatch` each, {WIDE} at a time"] = partial(_slurm, wide, JOBS)
        found: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, work in kinds.items():
                found[name].append(took(work))
    asked.title(f"{JOBS} jobs that do nothing, from the first submit to the end of the last")
    asked.head("", "jobs/s: median (least–most)")
    for name, times in found.items():
        asked.row(name, rate(times, JOBS))


def _ours(ours: Ours, told: Told) -> None:
    before = told.count("succeeded")
    ours.batch(TINY, JOBS, os.urandom(8).hex())
    told.reached("succeeded", before + JOBS)


def _slurm(slurm: Slurm, submits: int, *options: str) -> None:
    for _ in range(submits):
        slurm.submit(*options)
    slurm.emptied()


def live(asked: Asked) -> None:
    """One job that can start at once, behind none and behind ten thousand that cannot."""
    asked.title(f"A job that can start at once, in a running server: {QUEUED:,} others wait, ms since its submit")
    asked.head("", "others wait", "placed: p50", "p90", "runs: p50", "p90")
    with databases() as kinds:
        for name, make in kinds.items():
            with server("--database", make()) as ours:
                told = Told(ours.client)
                holder = _submit(ours, {"command": ["sleep", "600"], "gpus": 8, "cpus": 1})
                told.at(holder, "running")
                asked.row(name, "0", *_probes(ours, told))
                for number in range(10):
                    ours.batch({"command": ["true"], "gpus": 8, "cpus": 1}, QUEUED // 10, f"queued-{number}")
                _probe(ours, told)  # the first passes write every reason
                time.sleep(1.0)
                asked.row(name, f"{QUEUED:,}", *_probes(ours, told))
                ours.client.cancel(holder)


def _probes(ours: Ours, told: Told) -> tuple[str, ...]:
    placed, runs = zip(*(_probe(ours, told) for _ in range(PROBES)), strict=True)
    return (*both(placed), *both(runs))


def _probe(ours: Ours, told: Told) -> tuple[float, float]:
    since = time.time()
    job = _submit(ours, {**TINY, "command": ["sleep", "0.2"], "priority": 100})
    times = told.at(job, "admitted") - since, told.at(job, "running") - since
    told.at(job, "succeeded")
    return times


def _submit(ours: Ours, fields: dict[str, object]) -> str:
    job = make_job(fields)
    return ours.client.submit(job, code="", cwd="/", submit_dir="/", environ=ENVIRON, user="ada").id
