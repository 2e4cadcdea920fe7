"""Does a newcomer's mistake end with a message that helps, the right exit code, and nothing submitted?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Platform


@pytest.fixture
def train(platform: Platform) -> Path:
    return platform.write("train.py", "print('trained')")


def nothing_ran(platform: Platform) -> bool:
    return not platform.home.database.exists() and not platform.processes()


def test_a_missing_script_names_the_near_one(platform: Platform, train: Path) -> None:
    said = platform.leyden("run", "trian.py", check=3).stderr
    assert "there is no such file" in said
    assert "Did you mean train.py?" in said
    assert nothing_ran(platform)


def test_a_program_that_is_not_there(platform: Platform, train: Path) -> None:
    assert "on the PATH" in platform.leyden("run", "no-such-program", check=3).stderr
    platform.write("go", "#!/bin/sh\necho went\n")
    assert "write ./go" in platform.leyden("run", "go", check=3).stderr
    assert "chmod +x" in platform.leyden("run", "./go", check=2).stderr
    assert nothing_ran(platform)
    (platform.project / "go").chmod(0o755)
    assert platform.leyden("run", "./go").stdout == "went\n"


def test_a_syntax_error_is_shown_as_python_shows_it(platform: Platform) -> None:
    platform.write("bad.py", "import os\nx = (1,\n    2\nprint(x)\n")
    said = platform.leyden("run", "bad.py", check=1).stderr
    assert 'File "bad.py", line 2' in said
    assert "    x = (1,\n        ^\nSyntaxError: '(' was never closed" in said
    assert "Nothing was submitted" in said
    assert nothing_ran(platform)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("run --gpsu 1 train.py", "Did you mean --gpus?"),
        ("run --lr 0.1 train.py", "Flags of the script stand after its name."),
        ("ps --al", "Did you mean --all?"),
        ("rnu train.py", "Did you mean 'run'?"),
        ("train.py", "Did you mean `leyden run train.py`?"),
        ("server strat", "'start'"),
        ("run", "missing argument"),
        ("run --cpus two train.py", "'two' is not a valid integer"),
        ("run --time 5x train.py", "Write it like 90s"),
        ("run --var SEED train.py", "Write it like --var SEED=3"),
        ("run --priority 200 train.py", "--priority': 200 is not in the range 0<=x<=100"),
        ("run --gpus many: train.py", "Write 8, A100:8 or 24GB:2"),
        ("ps -o yaml", "'text', 'json'"),
    ],
)
def test_a_line_that_cannot_be_read(platform: Platform, train: Path, line: str, advice: str) -> None:
    done = platform.leyden(*line.split(), check=2)
    assert advice in done.stderr
    assert done.stdout == ""
    assert nothing_ran(platform)


def test_a_job_file_with_an_unknown_key(platform: Platform, train: Path) -> None:
    platform.write("job.toml", 'script = "train.py"\npririty = 3\n')
    assert "did you mean 'priority'?" in platform.leyden("run", "job.toml", check=2).stderr
    platform.write("job.toml", 'script = "train.py"\npreempt.grace_s = "soon"\n')
    said = platform.leyden("run", "job.toml", check=2).stderr
    assert "job.toml sets preempt.grace_s to 'soon'; that is no duration like 90s" in said
    platform.write("job.yaml", "script: [")
    assert "cannot be read" in platform.leyden("run", "job.yaml", check=2).stderr
    platform.write("both.toml", 'script = "train.py"\ncommand = ["ls"]\n')
    assert "both are given" in platform.leyden("run", "both.toml", check=2).stderr
    assert nothing_ran(platform)


def test_more_gpus_than_any_machine_has(platform: Platform, train: Path) -> None:
    said = platform.leyden("run", "--gpus", "4096", "train.py", check=1).stderr
    assert "asks for 4096 GPUs" in said
    assert "this machine has" in said
    assert platform.json("ps", "-a") == []


def test_a_tree_that_cannot_be_captured(platform: Platform, train: Path) -> None:
    with (platform.project / "weights.bin").open("wb") as file:
        file.truncate(300_000_000)
    said = platform.leyden("run", "train.py", check=1).stderr
    assert "weights.bin (300 MB)" in said
    assert ".leydenignore" in said
    assert nothing_ran(platform)
    platform.write(".leydenignore", "*.bin\n")
    assert platform.leyden("run", "train.py").stdout == "trained\n"
    platform.write("train.py", "import os; print(os.listdir())")
    assert "weights.bin" in platform.leyden("run", "--in-place", "train.py").stdout


def test_a_home_folder_is_not_captured(platform: Platform, train: Path) -> None:
    said = platform.leyden("run", "train.py", check=1, HOME=str(platform.project)).stderr
    assert "home folder" in said
    assert nothing_ran(platform)


def test_jobs_that_are_not_there(platform: Platform, train: Path) -> None:
    for command in ("show", "logs", "metrics", "wait", "cancel"):
        said = platform.leyden(command, "q7k2", check=3).stderr
        assert "leyden run train.py" in said
    assert nothing_ran(platform)
    platform.leyden("run", "train.py")
    for command in ("show", "logs", "metrics", "wait", "cancel"):
        assert "no job matches" in platform.leyden(command, "iiii", check=3).stderr


def test_a_server_that_does_not_answer(platform: Platform, train: Path) -> None:
    away = {"LEYDEN_API_URL": "http://127.0.0.1:9", "LEYDEN_TOKEN": "t"}
    for line in ("run train.py", "ps", "show", "server status"):
        said = platform.leyden(*line.split(), check=5, **away).stderr
        assert "127.0.0.1:9" in said
        assert "does not answer" in said
    platform.leyden("server", "start")
    found = platform.json("server", "status")
    wrong = {"LEYDEN_API_URL": found["url"], "LEYDEN_TOKEN": "wrong"}
    assert platform.leyden("ps", check=4, **wrong).returncode == 4
    assert "LEYDEN_API_URL" in platform.leyden("ps", check=5, LEYDEN_API_URL="nonsense").stderr


def test_debug_shows_the_traceback(platform: Platform) -> None:
    import subprocess

    from tests.end_to_end.conftest import LEYDEN

    environ = {**platform.environ, "LEYDEN_DEBUG": "1"}
    done = subprocess.run([LEYDEN, "nope"], env=environ, capture_output=True, text=True, check=False, cwd=os.sep)
    assert "Traceback" in done.stderr
    assert "UsageError" in done.stderr
