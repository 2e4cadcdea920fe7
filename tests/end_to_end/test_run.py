"""Does `leyden run` run what it was given, as it was when it was given, and end as it ends?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import LEYDEN, Platform, Terminal, until

GATED = """
import os, pathlib, sys, time
print("started", flush=True)
until = time.monotonic() + 150
while not os.path.exists(os.environ["GATE"]) and time.monotonic() < until:
    time.sleep(0.02)
print("finished", flush=True)
"""


@pytest.fixture
def gate(platform: Platform, tmp_path: Path) -> Path:
    """A job of gated.py ends once this file exists."""
    path = tmp_path / "gate"
    platform.environ["GATE"] = str(path)
    platform.write("gated.py", GATED)
    return path


def test_output_arguments_and_success(platform: Platform) -> None:
    platform.write("sub/echo.py", "import json, os, sys; print(json.dumps([sys.argv, os.path.basename(os.getcwd())]))")
    args = ("--lr", "0.1", "--gpus", "-o", "--", "--x", "", "a b", "$HOME", "*", "wörter", "--help")
    done = platform.leyden("run", "--cpus", "1", "sub/echo.py", *args)
    argv, folder = json.loads(done.stdout)
    assert argv == ["sub/echo.py", *args]
    assert folder == "code"
    assert "succeeded" in done.stderr
    assert "leyden logs" in done.stderr


def test_the_jobs_own_exit_code_comes_through(platform: Platform) -> None:
    platform.write("three.py", "import sys; sys.exit(3)")
    done = platform.leyden("run", "three.py", check=3)
    assert "failed" in done.stderr
    assert "code 3" in done.stderr
    assert platform.leyden("run", "--", "bash", "-c", "echo out; echo err >&2; exit 4", check=4).stdout == "out\nerr\n"
    assert platform.leyden("wait", check=4).stdout.startswith("✗")


def test_output_is_passed_on_byte_for_byte(platform: Platform) -> None:
    platform.write("raw.py", r"import sys; sys.stdout.buffer.write(b'10%\r20%\r\xff\x00\x1b[1mend')")
    done = subprocess.run(
        [LEYDEN, "run", "raw.py"], cwd=platform.project, env=platform.environ, capture_output=True, check=True
    )
    assert done.stdout == b"10%\r20%\r\xff\x00\x1b[1mend"


def test_edits_after_the_submit_do_not_reach_the_job(platform: Platform, gate: Path) -> None:
    platform.write("helper.py", "WORD = 'old'")
    platform.write("late.py", GATED + "import helper; print(helper.WORD)")
    job = platform.leyden("submit", "late.py").stdout.strip()
    platform.write("helper.py", "WORD = 'new'")
    gate.touch()
    platform.leyden("wait", job)
    assert platform.leyden("logs", job).stdout.endswith("finished\nold\n")


def test_uncommitted_and_untracked_files_are_part_of_the_job(platform: Platform) -> None:
    platform.write("train.py", "import new; print(new.WORD, open('data.txt').read())")
    platform.write("data.txt", "committed")
    for args in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one")):
        subprocess.run(["git", *args], cwd=platform.project, env=platform.environ, check=True)
    platform.write("data.txt", "edited")
    platform.write("new.py", "WORD = 'untracked'")
    assert platform.leyden("run", "train.py").stdout == "untracked edited\n"


def test_in_place_runs_in_the_folder_itself(platform: Platform) -> None:
    platform.write("where.py", "import os; print(os.getcwd())")
    assert platform.leyden("run", "--in-place", "where.py").stdout.strip() == str(platform.project)
    assert platform.leyden("run", "where.py").stdout.strip() != str(platform.project)


def test_a_job_file_with_flags_over_it(platform: Platform) -> None:
    platform.write("show.py", "import os, sys; print(os.environ['SEED'], os.environ['KEPT'], sys.argv[1:])")
    platform.write(
        "job.toml",
        'script = "show.py"\nargs = ["--a"]\ncpus = 1\nname = "from-file"\nvars = { SEED = "1", KEPT = "k" }\n',
    )
    assert (
        platform.leyden("run", "--var", "SEED=2", "--name", "mine", "job.toml", "--b").stdout == "2 k ['--a', '--b']\n"
    )
    assert platform.json("show")["job"]["name"] == "mine"


def test_ctrl_c_detaches_and_the_job_goes_on(platform: Platform, gate: Path, terminal: Callable[..., Terminal]) -> None:
    window = terminal("run", "gated.py")
    window.read_until("started")
    window.press_ctrl_c()
    said = window.read_until("stop it")
    assert "goes on without this terminal" in said
    assert window.end() == 130
    assert platform.job_state() == "running"
    gate.touch()
    assert "finished" in platform.leyden("logs", "-f").stdout
    assert "✓" in platform.leyden("wait").stdout


def test_a_second_ctrl_c_cancels(platform: Platform, gate: Path, terminal: Callable[..., Terminal]) -> None:
    window = terminal("run", "gated.py")
    window.read_until("started")
    window.press_ctrl_c()
    window.read_until("again within 3 s")
    window.press_ctrl_c()
    assert window.end() == 103
    assert "cancelled" in window.text
    assert platform.job_state() == "cancelled"


def test_a_closed_terminal_leaves_the_job_alone(
    platform: Platform, gate: Path, terminal: Callable[..., Terminal]
) -> None:
    window = terminal("run", "gated.py")
    window.read_until("started")
    assert window.hang_up() != 0
    gate.touch()
    platform.leyden("wait")
    assert platform.leyden("logs").stdout == "started\nfinished\n"


def test_two_jobs_queue_for_the_same_device(platform: Platform, gate: Path) -> None:
    platform.leyden("submit", "--name", "first", "gated.py")
    platform.write("quick.py", "print('quick')")
    second = platform.start("run", "quick.py")
    waiting = until(lambda: [job for job in platform.json("ps") if "first" in job["reason"]], "a job that waits")
    assert second.stderr is not None
    line = second.stderr.readline().decode()
    assert "quick · " in line
    assert "first" in line
    table = platform.leyden("ps").stdout
    assert "REASON" in table
    assert "first" in table
    gate.touch()
    assert second.stdout is not None
    assert second.stdout.read() == b"quick\n"
    assert second.wait() == 0
    events = platform.json("show", waiting[0]["id"])["events"]
    placed_at = next(event["at"] for event in events if event["after"] == "admitted")
    assert next(job for job in platform.json("ps") if job["name"] == "first")["ended_at"] <= placed_at


def test_cancelled_and_timed_out_have_their_own_codes(platform: Platform, gate: Path) -> None:
    watcher = platform.start("run", "gated.py")
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == b"started\n"
    assert "cancelled" in platform.leyden("cancel", "last").stdout
    assert watcher.stdout.read() == b""
    assert watcher.wait() == 103
    done = platform.leyden("run", "--time", "1s", "gated.py", check=105)
    assert "timed out" in done.stderr


def test_a_lost_worker_is_no_fault_of_the_job(platform: Platform, gate: Path) -> None:
    platform.write("job.yaml", "{script: gated.py, retry: {infra: 1}}")
    watcher = platform.start("run", "job.yaml")
    assert watcher.stdout is not None
    for attempt in (1, 2):  # the second time it is tried again for the last time
        assert watcher.stdout.readline() == b"started\n"
        run_dir = Path(platform.json("show")["job"]["run_dir"])
        worker = json.loads((run_dir / "attempts" / f"a{attempt}" / "worker.json").read_text())["worker"]
        os.kill(worker["pid"], signal.SIGKILL)
    assert watcher.wait(60) == 104


def test_ranks_run_side_by_side_with_their_own_logs(platform: Platform) -> None:
    platform.write("rank.py", "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'])")
    assert platform.leyden("run", "--ranks", "2", "rank.py").stdout == "rank 0 of 2\n"
    assert platform.leyden("logs", "--rank", "1").stdout == "rank 1 of 2\n"
    assert "rank" in platform.leyden("logs", "--rank", "7", check=3).stderr


def test_no_reader_for_the_output_is_no_crash(platform: Platform) -> None:
    platform.write("many.py", "for i in range(200_000): print('line', i)")
    platform.leyden("run", "many.py")
    script = f"{LEYDEN} logs | head -n 2"
    done = subprocess.run(
        ["bash", "-c", script], cwd=platform.project, env=platform.environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "line 0\nline 1\n"
    assert done.stderr == ""
    assert platform.leyden("logs", "--tail", "2").stdout == "line 199998\nline 199999\n"
    assert os.path.getsize(Path(platform.json("show")["job"]["run_dir"]) / "logs" / "a1-r0.log") > 1_000_000  # noqa: PTH202
