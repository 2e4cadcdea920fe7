"""Does a bare run say that it is there and how it ended, and does nothing but the program decide its exit code?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import leyden
from leyden.core.process import birth
from leyden.track import run
from leyden.track.read import read_run
from tests.conformance.until import until


def script(code: str, folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments, "-c", code],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def the_run(folder: Path) -> Path:
    [found] = (folder / "leyden_runs").glob("*/")
    return found


def state(folder: Path) -> str:
    found: dict[str, Any] = json.loads((the_run(folder) / "finished.json").read_text())
    return str(found["state"])


@pytest.mark.parametrize(
    ("end", "exit_code", "ended"),
    [
        ("", 0, "finished"),
        ("raise ValueError('no')", 1, "failed"),
        ("import sys; sys.exit(3)", 3, "failed"),
        ("import sys; sys.exit('message')", 1, "failed"),
        ("import sys; sys.exit(0)", 0, "finished"),
        ("import sys; sys.exit()", 0, "finished"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "killed"),
        ("import sys; sys.excepthook = print; raise ValueError", 1, "failed"),
        ("leyden.finish(); raise ValueError", 1, "finished"),
        ("import threading, sys; t = threading.Thread(target=sys.exit, args=[3]); t.start(); t.join()", 0, "finished"),
        ("import os\nif os.fork() == 0: raise SystemExit(4)\nos.wait()", 0, "finished"),
        ("with leyden.init() as run: run.log({'b': 1}); 1 / 0", 1, "failed"),
    ],
)
def test_how_it_ended(tmp_path: Path, end: str, exit_code: int, ended: str) -> None:
    done = script(f"import leyden\nleyden.log({{'a': 1}})\nleyden.log_text('t', 'x')\n{end}", tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert state(tmp_path) == ended
    assert "a" in read_run(the_run(tmp_path))
    assert (the_run(tmp_path) / "media" / "t" / "0-0.txt").read_text() == "x"


def test_it_announces_itself(tmp_path: Path) -> None:
    code = "import leyden; leyden.log({'a': 1}); input()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        bare = tmp_path / "home" / "bare"
        until(lambda: bare.is_dir() and any(not one.name.startswith(".") for one in bare.iterdir()), within_s=20)
        folder = the_run(tmp_path)
        assert (bare / folder.name).read_text() == str(folder)
        about = json.loads((folder / "run.json").read_text())
        assert (about["pid"], about["birth"]) == (process.pid, birth(process.pid))
        assert not (folder / "finished.json").exists()
        process.kill()
    assert not (folder / "finished.json").exists()
    assert birth(process.pid) is None


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = script("import leyden; leyden.log({'a': 1})", tmp_path, LEYDEN_HOME=str(tmp_path / "file" / "home"))
    assert (done.returncode, done.stderr, state(tmp_path)) == (0, "", "finished")


def test_a_program_may_have_several_runs(tmp_path: Path) -> None:
    code = "from leyden.track import run\nfor n in range(3): run.start(); run.log({'n': n})\nraise ValueError"
    assert script(code, tmp_path).returncode == 1
    found = [json.loads(file.read_text())["state"] for file in tmp_path.glob("leyden_runs/*/finished.json")]
    assert found == ["failed"] * 3


def test_a_job_says_nothing_of_the_kind(tmp_path: Path) -> None:
    done = script("import leyden; leyden.log({'a': 1})", tmp_path, LEYDEN_RUN_DIR=str(tmp_path / "r"))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "r" / "finished.json").exists()


def test_a_record_that_was_removed_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = script("import leyden, shutil; leyden.log({'a': 1}); shutil.rmtree(leyden.run_dir().parent)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_that_goes_on_is_not_finished(tmp_path: Path) -> None:
    first = run.start(tmp_path / "runs")
    leyden.config["lr"] = 1
    first.log({"a": 1})
    first.finish()
    assert (first.path / "finished.json").exists()
    for file in (first.path / "metrics").glob("*"):
        file.unlink()  # as a server does that has sealed them
    second = run.start(resume=first.path)
    assert second.attempt == 2
    assert not (first.path / "finished.json").exists()
    assert second.config == {"lr": 1}
    second.finish("failed")
    assert json.loads((first.path / "finished.json").read_text())["state"] == "failed"


def test_no_thread_stays(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    one = run.start(tmp_path / "runs")
    leyden.log({"a": 1})
    leyden.log_text("t", "x")
    leyden.finish()
    leyden.finish()
    assert set(threading.enumerate()) <= before
    assert run.current() is not one


def test_warnings_that_are_errors_end_no_thread(tmp_path: Path) -> None:
    code = """
import leyden, numpy
leyden.log_image("a", numpy.full((2, 2), 7.0))
leyden.log_text("t", "after")
"""
    done = script(code, tmp_path, "-W", "error")
    assert done.returncode == 0, done.stderr
    assert (the_run(tmp_path) / "media" / "t" / "0-0.txt").exists()
