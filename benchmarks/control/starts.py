"""How long from a submit to a job that runs, and to its user's first line: Leyden cold and warm, and Slurm?

All in turn, round after round, the same script by the same interpreter: it notes the time, imports torch, prints.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks import start_latency
from benchmarks.control.common import LEYDEN, Asked, Ours, half, ninety, server, until
from benchmarks.control.slurm import Slurm, cluster
from benchmarks.control.told import Told

ROUNDS = 15
COLUMNS = ("the submit returns", "it runs", "script begins", "line printed", "client has it")


@dataclass(frozen=True, kw_only=True)
class Start:
    """One job; seconds since its submit was begun."""

    submitted: float
    running: float
    began: float
    line: float
    seen: float


def starts(asked: Asked) -> None:
    """Submit → running → first line."""
    with tempfile.TemporaryDirectory() as folder, server() as ours, cluster() as slurm:
        project = Path(folder) / "project"
        start_latency.make_project(project, 20)
        os.environ["LEYDEN_HOME"] = str(ours.home.root)  # where `leyden submit` looks
        start_latency.until_warm(ours.client, project)
        told = Told(ours.client)
        kinds: dict[str, Callable[[], Start]] = {
            "Leyden, Python, cold": lambda: _ours(ours, told, project, warm=False),
            "Leyden, Python, warm": lambda: _ours(ours, told, project, warm=True),
            "`leyden submit`, warm": lambda: _command_line(ours, told, project),
        }
        if slurm:
            kinds["`sbatch`"] = lambda: _slurm(slurm, project)
        found: dict[str, list[Start]] = {name: [] for name in kinds}
        rng = random.Random(0)
        for _ in range(ROUNDS):
            for name, one in kinds.items():
                time.sleep(rng.random())  # Slurm looks once a second: a submit is to come at any time between
                found[name].append(one())
    _report(asked, found)


def _ours(ours: Ours, told: Told, project: Path, *, warm: bool) -> Start:
    since = time.time()
    job = start_latency.submit(ours.client, project, "train.py", warm=warm)
    return _followed(ours, told, job, since, warm=warm)


def _command_line(ours: Ours, told: Told, project: Path) -> Start:
    words = (*LEYDEN, "submit", "--gpus", "0", "--cpus", "1", "train.py")
    since = time.time()
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True)
    return _followed(ours, told, done.stdout.strip(), since, warm=True)


def _followed(ours: Ours, told: Told, job: str, since: float, *, warm: bool) -> Start:
    submitted = time.time()
    text = b""
    while b"\n" not in text:
        text = next(iter(ours.client.logs(job, follow=True)), b"")
    seen = time.time()
    began, line, was = text.split()
    assert (was == b"True") == warm, f"asked for warm={warm}, was {was!r}"
    running = told.at(job, "running")
    told.at(job, "succeeded")
    return _since(since, submitted, running, float(began), float(line), seen)


def _slurm(slurm: Slurm, project: Path) -> Start:
    since = time.time()
    job = slurm.submit(f"--chdir={project}", f"--output={slurm.root}/%j.out", command=f"exec {sys.executable} train.py")
    submitted = time.time()
    output = slurm.root / f"{job}.out"
    until(lambda: output.exists() and "\n" in output.read_text(), pause_s=0.001)
    seen = time.time()
    began, line, _ = output.read_text().split()
    slurm.emptied()
    return _since(since, submitted, slurm.allocated_at(job), float(began), float(line), seen)


def _since(since: float, *times: float) -> Start:
    return Start(**dict(zip(Start.__annotations__, (at - since for at in times), strict=True)))


def _report(asked: Asked, found: dict[str, list[Start]]) -> None:
    asked.title("From a submit to a running job and its first line, ms: p50 / p90")
    asked.say(f"{ROUNDS} starts each, in turn. The same script: it notes the time, imports torch, prints a line.")
    asked.say("Leyden's times hold the capture of the tree (20 files in git). It runs: for Leyden the ranks do and a")
    asked.say(
        "client that follows the events was told so, for Slurm its controller has given the job its node, which it"
    )
    asked.say("does once a second at these settings (every two to three by default); submits come at random times.\n")
    asked.head("start", *COLUMNS, "first line over Slurm's")
    slurm = found.get("`sbatch`")
    for name, starts_ in found.items():
        marks = list(zip(*(astuple(one) for one in starts_), strict=True))
        cells = [f"{half(mark) * 1e3:.0f} / {ninety(mark) * 1e3:.0f}" for mark in marks]
        share = f"{half(marks[-1]) / half([one.seen for one in slurm]):.2f}" if slurm else "–"
        asked.row(name, *cells, share)
    if "`sbatch`" in found:
        begin = {name: half([one.began for one in starts_]) for name, starts_ in found.items()}
        warm, cold = (begin["`sbatch`"] / begin[f"Leyden, Python, {kind}"] for kind in ("warm", "cold"))
        asked.say(f"\nBeside `sbatch` the script begins {warm:.1f} times sooner warm, {cold:.1f} times sooner cold.")
