"""Is looking cheap? CPU time of the process, best of several (never wall time), and the modules it loads."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LEYDEN = str(Path(sys.executable).parent / "leyden")
HEAVY = {"torch", "numpy", "pydantic", "rich", "typer", "fastapi", "uvicorn", "sqlalchemy", "httpx", "yaml", "pathspec"}
MODULES = "import sys, json; {}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
PROGRAM = """
import leyden
leyden.log({"loss": 1.0})
(leyden.run_dir() / "artifacts/a.txt").write_text("hello")
checkpoint = leyden.run_dir() / "checkpoints/step=1"
checkpoint.mkdir()
(checkpoint / "manifest.json").write_text('{"step": 1, "created_at": 1.0}')
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of a home with a server and a job that has run."""
    folder = tmp_path_factory.mktemp("cost")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LEYDEN_")}
    environ = {**kept, "LEYDEN_HOME": str(folder / "home"), "PROJECT": str(folder / "project")}
    (folder / "project").mkdir()
    (folder / "project" / "train.py").write_text(PROGRAM)
    try:
        _run([LEYDEN, "run", "train.py"], environ)
        yield environ
    finally:
        _run([LEYDEN, "server", "stop"], environ)


LOOKS = [
    *("ps", "ps -a", "show", "logs", "logs -t", "metrics", "metrics --plot", "top", "why", "events", "wait"),
    *("cp last:", "ckpt ls", "quota", "server status", "server clean", "cancel last"),
]


@pytest.mark.parametrize("line", LOOKS)
def test_looking_costs_at_most_150_ms_of_cpu(environ: dict[str, str], line: str) -> None:
    assert _cpu_s([LEYDEN, *line.split()], environ, enough=0.150) <= 0.150


@pytest.mark.parametrize("line", LOOKS)
def test_looking_loads_nothing_heavy(environ: dict[str, str], line: str) -> None:
    code = MODULES.format(f"from leyden.cli.main import run; run({line.split()!r})")
    loaded = set(json.loads(_run([sys.executable, "-c", code], environ).splitlines()[-1]))
    assert loaded & HEAVY == set()


def test_run_loads_no_rich_and_no_server() -> None:
    code = MODULES.format("import leyden.cli.run, leyden.core.job, leyden.client.capture")
    loaded = set(json.loads(_run([sys.executable, "-c", code], dict(os.environ))))
    assert loaded & HEAVY == {"pydantic"}


def test_importing_leyden_is_free() -> None:
    loaded = set(json.loads(_run([sys.executable, "-c", MODULES.format("import leyden")], dict(os.environ))))
    assert loaded & HEAVY == set()
    assert _cpu_s([sys.executable, "-c", "import leyden"], dict(os.environ)) <= 0.100


def _run(command: list[str], environ: dict[str, str]) -> str:
    folder = environ.get("PROJECT")
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=True).stdout


def _cpu_s(command: list[str], environ: dict[str, str], *, enough: float = 0.0) -> float:
    """The least of several runs: what the program needs when nothing disturbs it. One of `enough` or less will do."""
    spent: list[float] = []
    while len(spent) < 7 and (not spent or min(spent) > enough):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(command, environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)
