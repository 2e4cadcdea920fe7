"""Leyden: `leyden sweep` on a server of its own, each trial a job that is forked off a process with torch imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.sweep_peers.common import ETA, MOST, Outcome, Task
from benchmarks.sweep_peers.space import flags

from leyden.client import embedded, submission
from leyden.client.api import Client
from leyden.core.errors import LeydenError
from leyden.core.home import Home
from leyden.core.job import Job
from leyden.core.states import State

HERE = Path(__file__).resolve().parent
# By this interpreter's name: `python` and `python3` are different ones to the server, each to be preloaded.
LEYDEN = (sys.executable, str(Path(sys.executable).with_name("leyden")))
WARM = "import sys\nwarm = 'torch' in sys.modules\nimport torch, time\nprint(warm, flush=True)\nwarm or time.sleep(1)\n"
DEADLINE_S = 90.0
OPEN = frozenset({"admitted", "starting", "running", "stopping"})  # states in which a job holds its devices


def run(task: Task, strategy: str) -> Outcome:
    """One sweep."""
    begin = time.time()
    project = _project(task.scratch / "project")
    with served(task.scratch / "home", project) as client:
        began_at = time.time()
        subprocess.run(command(task, strategy), cwd=project, stdout=sys.stderr, timeout=task.cap_s + 60, check=False)
        ended_at = time.time()
        held = [span for trial in trials(client) for span in spans(client, trial, ended_at)]
    return Outcome(start_s=began_at - begin, began_at=began_at, ended_at=ended_at, held=held)


def command(task: Task, strategy: str) -> list[str]:
    """What a user would type."""
    problem = task.problem
    rungs = [f"--min-epochs={task.first_rung}", f"--max-epochs={problem.epochs}", f"--eta={ETA}"]
    return [
        *(*LEYDEN, "sweep", f"--strategy={strategy}", f"--metric={problem.metric}:{problem.goal}"),
        *(f"--trials={MOST}", f"--parallel={task.workers}", "--cpus=1", f"--seed={task.seed}"),
        *(rungs if strategy in {"asha", "hyperband"} else []),
        *(f"--target={problem.target}", f"--stop-after={task.cap_s:.0f}s"),
        *("leyden_trial.py", f"--problem={problem.name}", f"--data={task.data}", f"--journal={task.journal.file}"),
        *(f"--seed={task.seed}", *flags(problem.space)),
    ]


def trials(client: Client) -> list[str]:
    """Ids of the jobs of the server's only sweep."""
    return [job.id for job in client.jobs(include_ended=True) if "/" in job.name]


def spans(client: Client, job: str, until: float) -> Iterator[tuple[float, float]]:
    """From when to when it held its slot: one span an attempt."""
    since: float | None = None
    for event in client.job(job).events:
        if event.after in OPEN:
            since = event.at if since is None else since
        elif since is not None:
            yield since, event.at
            since = None
    if since is not None:
        yield since, until


@contextmanager
def served(folder: Path, project: Path) -> Iterator[Client]:
    """A server of its own, ready to fork; what still runs on it at the end is cancelled."""
    home = Home(folder).create()
    os.environ["LEYDEN_HOME"] = str(home.root)
    try:
        client = Client(embedded.start(home))
        until_warm(client, project)
        yield client
        end_all(client)
    finally:
        embedded.stop(home)


def until_warm(client: Client, project: Path) -> None:
    """As for anybody: after the first job that imports torch, the next ones are forked."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        job = submission.submit(lambda: client, Job(script="warm.py", gpus=0, cpus=1), folder=project)
        if b"True" in b"".join(client.logs(job.id, follow=True)):
            return
        time.sleep(0.1)
    raise SystemExit("no job was started warm; see the server's log")


def end_all(client: Client) -> None:
    """Nothing of it may use the machine while another library is measured."""
    for job in client.jobs():
        with suppress(LeydenError):  # it has just ended
            client.cancel(job.id)
    end = time.monotonic() + DEADLINE_S
    while any(State(job.state) in OPEN for job in client.jobs()) and time.monotonic() < end:
        time.sleep(0.05)


def _project(folder: Path) -> Path:
    """What is captured for each trial: the script, the problems, and nothing else of this repository."""
    package = folder / "benchmarks" / "sweep_peers"
    package.mkdir(parents=True)
    (folder / "benchmarks" / "__init__.py").touch()
    for name in ("__init__.py", "problems.py"):
        shutil.copy(HERE / name, package / name)
    shutil.copy(HERE / "leyden_trial.py", folder / "leyden_trial.py")
    (folder / "warm.py").write_text(WARM)
    return folder
