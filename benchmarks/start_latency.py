"""How long does a job take from its submit to its user's first line, cold and warm?

One server of its own, a small git tree, a script that imports torch and prints. Cold and warm starts alternate; the
submit, with the capture of the tree, the server, the worker and a client that follows the log all count. Warm means
that the rank is forked off a process that has torch imported, cold is `--cold`.

    python benchmarks/start_latency.py                           writes benchmarks/results/start_latency_…
    python benchmarks/start_latency.py --pairs 40 --files 500
    sudo … --realtime      on a machine that is busy with other work, which then waits
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.control.told import Told  # noqa: E402  ROOT is on the path from here on

from leyden.client import embedded, submission  # noqa: E402
from leyden.client.api import Client  # noqa: E402
from leyden.core.home import Home  # noqa: E402
from leyden.core.job import Job  # noqa: E402

SCRIPT = """
import time; began = time.time()
import sys; warm = "torch" in sys.modules
import torch
print(began, time.time(), warm, flush=True)
"""
STAYS = SCRIPT + "time.sleep(5)\n"  # long enough for the server to see that it uses torch
DEADLINE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """One job, in ms since its submit was called."""

    submitted: float  # the call returned
    placed: float  # the scheduler's pass began
    ranks: float  # the worker is about to start them
    running: float  # a client that follows the events is told that it runs
    began: float  # the first statement of the script
    line: float  # torch is imported, the line is printed
    seen: float  # by the client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--files", type=int, default=20, help="in the tree, of 2 kB each")
    parser.add_argument("--realtime", action="store_true", help="everything before other work; needs the right to")
    parser.add_argument("--pause-s", type=float, default=0.0, help="between starts, for that other work")
    parser.add_argument("--out", type=Path, help="file of the report; default: benchmarks/results/start_latency_…")
    options = parser.parse_args()
    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # the server and all it starts inherit it
    with tempfile.TemporaryDirectory() as scratch:
        home, project = Home(Path(scratch) / "home"), Path(scratch) / "project"
        make_project(project, options.files)
        os.environ["LEYDEN_HOME"] = str(home.root)
        client = Client(embedded.start(home))
        try:
            until_warm(client, project)
            told = Told(client)
            kinds = itertools.islice(itertools.cycle((False, True)), 2 * options.pairs)
            measured = [(warm, one(client, told, project, warm=warm, pause_s=options.pause_s)) for warm in kinds]
        finally:
            embedded.stop(home)
    how = "before all other work (SCHED_RR)" if options.realtime else "beside other work"
    lines = list(report(measured, options.files, how))
    print("\n".join(lines))
    name = f"start_latency_{os.cpu_count()}-core_{datetime.now(UTC):%Y-%m-%d}.md"
    (options.out or Path(__file__).parent / "results" / name).write_text("\n".join(lines) + "\n")


def make_project(project: Path, files: int) -> None:
    project.mkdir()
    for index in range(files):
        (project / f"module_{index}.py").write_text(f"# {index}\n" + "x = 1  # a line of code\n" * 85)
    (project / "train.py").write_text(SCRIPT)
    (project / "stays.py").write_text(STAYS)
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=project, check=True)


def until_warm(client: Client, project: Path) -> None:
    """As for anybody: after the first job that imports torch, the next ones are warm."""
    end = time.monotonic() + DEADLINE_S
    submit(client, project, "stays.py", warm=True)
    while time.monotonic() < end:
        job = submit(client, project, "train.py", warm=True)
        text = b"".join(client.logs(job, follow=True)).decode()
        if "True" in text:
            return
        time.sleep(0.5)
    raise SystemExit("no job was started warm; see the server's log")


def submit(client: Client, project: Path, script: str, *, warm: bool) -> str:
    return submission.submit(lambda: client, Job(script=script, warm=warm, gpus=0, cpus=1), folder=project).id


def one(client: Client, told: Told, project: Path, *, warm: bool, pause_s: float) -> Start:
    time.sleep(pause_s)
    since = time.time()
    job = submit(client, project, "train.py", warm=warm)
    submitted = time.time()
    text = b""
    while b"\n" not in text:
        text = next(iter(client.logs(job, follow=True)), b"")
    seen = time.time()
    began, line, was = text.split()
    assert (was == b"True") == warm, f"asked for warm={warm}, was {was!r}"
    ended = client.wait(job, timeout_s=DEADLINE_S)
    assert ended.started_at is not None
    placed = next(event.at for event in client.job(job).events if event.after == "admitted")
    times = (submitted, placed, ended.started_at, told.at(job, "running"), float(began), float(line), seen)
    return Start(**dict(zip(Start.__annotations__, ((at - since) * 1e3 for at in times), strict=True)))


def report(measured: list[tuple[bool, Start]], files: int, how: str) -> Iterator[str]:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    yield "# How long from submit to the user's first line?\n"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    yield f"- {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {today}"
    yield f"- torch {version('torch')}, leyden {version('leyden')}; {how}; load at the end {load}"
    yield f"- command: python {' '.join([f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}"
    yield f"- a git tree of {files} files; {len(measured) // 2} starts each, cold and warm in turn"
    yield "- milliseconds since the submit was begun\n"
    columns = ["start", "submit returned", "placed", "ranks start", "a client is told that it runs", "script begins"]
    columns += ["line printed, p50", "p90", "client has it, p50", "p90"]
    yield f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    for warm in (False, True):
        starts = [start for kind, start in measured if kind is warm]
        marks = [half(one.submitted for one in starts), half(one.placed for one in starts)]
        marks += [half(one.ranks for one in starts), half(one.running for one in starts)]
        marks += [half(one.began for one in starts)]
        for values in ([one.line for one in starts], [one.seen for one in starts]):
            marks += [half(values), statistics.quantiles(values, n=10)[-1]]
        yield f"| {'warm' if warm else 'cold'} | " + " | ".join(f"{mark:.0f}" for mark in marks) + " |"


def half(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
