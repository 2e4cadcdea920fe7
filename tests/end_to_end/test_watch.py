"""Who uses the machine, when was a line printed, and does a job go on after its worker was killed?"""

from __future__ import annotations

import calendar
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from leyden.engines import record
from tests.end_to_end.conftest import Platform, Terminal, until

BUSY = "import os, time\nwhile not os.path.exists(os.environ['GATE']): pass\n"


@pytest.fixture
def gate(platform: Platform, tmp_path: Path) -> Path:
    platform.environ["GATE"] = str(tmp_path / "gate")
    return tmp_path / "gate"


def test_top_shows_who_is_on_which_gpu_and_who_waits(
    platform: Platform, gate: Path, terminal: Callable[..., Terminal]
) -> None:
    assert "No server runs" in platform.leyden("top").stdout
    platform.leyden("server", "start", "--fake-gpus", "4")
    platform.write("busy.py", BUSY)
    job = platform.leyden("submit", "--name", "trains", "--gpus", "2", "--ranks", "1", "busy.py").stdout.strip()
    waits = platform.leyden("submit", "--name", "waits", "--gpus", "4", "busy.py").stdout.strip()

    def busy() -> Any:
        view = platform.json("top")
        return view if (view["gpus"][0]["use_percent"] or 0) > 20 and view["waiting"] else None

    view = until(busy, "a sample")
    assert [gpu["job"] for gpu in view["gpus"]] == [job, job, "", ""]
    assert view["gpus"][1]["idle_s"] == 0
    assert view["gpus"][3]["use_percent"] is None
    assert (view["gpus"][0]["job_name"], view["gpus"][0]["name"]) == ("trains", "Fake GPU")
    assert [one["id"] for one in view["jobs"]] == [job]
    assert view["jobs"][0]["cpu_percent"] > 20
    assert view["jobs"][0]["memory_bytes"] > 1_000_000
    assert ([one["id"] for one in view["waiting"]], view["waiting_count"]) == ([waits], 1)
    text = platform.leyden("top").stdout
    assert re.search(rf"(?m)^ +0 +Fake GPU +\d+ % +.* of 80 GB +{job[-4:]} +trains", text)
    assert re.search(r"(?m)^ +3 +Fake GPU +80 GB +free$", text)
    assert re.search(rf"(?m)^{waits[-4:]} +waits", text)
    names = {one["name"] for one in platform.json("metrics", job)}
    assert names >= {"system/cpu_percent", "system/gpu0/use_percent"}
    window = terminal("top")
    window.read_until("trains")
    window.text = ""
    window.read_until("trains")  # drawn anew
    window.press_ctrl_c()
    assert window.end() == 0
    gate.touch()
    platform.leyden("wait", job, waits)
    assert "Nothing waits." in platform.leyden("top").stdout


PRINTS = """
import os, time
for number in range(6):
    print(number, time.time(), flush=True)
    time.sleep(0.1)
print("no end", time.time(), end="", flush=True)
while not os.path.exists(os.environ["GATE"]): time.sleep(0.01)
"""


def stamp(line: str) -> float:
    """Seconds since 1970."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z", line[:24])
    assert found, line
    return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + int(found[2]) / 1000


def test_lines_of_a_log_have_the_time_they_were_printed(platform: Platform, gate: Path) -> None:
    platform.write("prints.py", PRINTS)
    job = platform.leyden("submit", "prints.py").stdout.strip()
    until(lambda: "no end" in platform.leyden("logs", job).stdout, "the lines")
    for flags in (("-t",), ("-t", "--tail", "3"), ("-t", "-f", "--tail", "5"), ("-t", "-f")):
        if "-f" in flags:
            gate.touch()
        lines = platform.leyden("logs", job, *flags).stdout.splitlines()
        assert "\n".join(line[25:] for line in lines) == platform.leyden("logs", job, *flags[1:]).stdout
        late_s = [stamp(line) - float(line.split()[-1]) for line in lines]
        assert min(late_s) > -0.02
        assert median(late_s) < 0.6
    platform.leyden("wait", job)
    for times in Path(platform.json("show", job)["job"]["run_dir"]).glob("logs/*.times"):
        times.unlink()  # as of a worker that could not write them
    lines = platform.leyden("logs", job, "-t", "--tail", "1").stdout.splitlines()
    assert [line[:25] for line in lines] == ["-".rjust(24) + " "]


RESUMES = """
import os, pathlib, time
count = pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "artifacts", "count")
begin = int(count.read_text()) if count.exists() else 0
print("begins at", begin, "attempt", os.environ["LEYDEN_ATTEMPT"], flush=True)
for step in range(begin, 400):
    draft = count.with_name("draft")
    draft.write_text(str(step + 1))
    draft.replace(count)
    if step >= 3 and os.environ["LEYDEN_ATTEMPT"] == "1":
        time.sleep(600)
print("done", flush=True)
"""


def test_a_job_goes_on_after_its_worker_was_killed(platform: Platform) -> None:
    platform.write("resumes.py", RESUMES)
    job = platform.leyden("submit", "resumes.py").stdout.strip()
    until(lambda: platform.job_state(job) == "running", "the start")
    run_dir = Path(platform.json("show", job)["job"]["run_dir"])
    count = run_dir / "artifacts/count"
    until(lambda: count.exists() and count.read_text() == "4", "four steps")
    file = record.read_worker(run_dir / "attempts/a1")
    assert file
    assert file.worker
    os.kill(file.worker.pid, signal.SIGKILL)
    platform.leyden("wait", job)
    first, second = platform.json("show", job)["attempts"]
    assert (first["outcome"], second["outcome"]) == ("infra", "succeeded")
    said = platform.leyden("logs", job).stdout
    assert said.splitlines() == ["begins at 4 attempt 2", "done"]
    assert not any(record.lives(rank) for rank in file.ranks)
    events = [str(event["why"]) for event in platform.json("show", job)["events"]]
    assert any("1 of 100" in why and "the worker process died" in why for why in events), events


HANGS_ONCE = """
import os, time
print("attempt", os.environ["LEYDEN_ATTEMPT"], flush=True)
if os.environ["LEYDEN_ATTEMPT"] == "1":
    time.sleep(600)
"""


def test_limits_of_a_job_file_are_kept(platform: Platform) -> None:
    """A stall is tried again; an idle GPU is a limit, exit code 105."""
    platform.leyden("server", "start", "--fake-gpus", "2")
    platform.write("hangs.py", HANGS_ONCE)
    platform.write("hangs.toml", 'script = "hangs.py"\ngpus = 1\ncpus = 1\n[limits]\nstall = "4s"\n')
    platform.write("idles.py", "import time; time.sleep(600)")
    platform.write("idles.toml", 'script = "idles.py"\ngpus = 1\ncpus = 1\n[limits]\nidle = "1.5s"\n')
    hangs = platform.leyden("submit", "hangs.toml").stdout.strip()
    done = platform.leyden("run", "idles.toml", check=105)
    assert "stopped at its idle limit: no GPU of it did anything for 1.5s" in done.stderr
    platform.leyden("wait", hangs)
    first, second = platform.json("show", hangs)["attempts"]
    assert (first["outcome"], second["outcome"]) == ("infra", "succeeded")
    said = platform.leyden("logs", hangs, "--attempt", "1").stdout
    assert "no progress for 4.0s" in said
    assert 'hangs.py", line 5 in <module>' in said
