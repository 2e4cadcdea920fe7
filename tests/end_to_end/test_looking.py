"""Do ps, show, logs, metrics and wait tell what happened, to people and to programs?"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.end_to_end.conftest import LEYDEN, Platform, Terminal, until

LOGGING = """
import leyden, math
for step in range(10):
    leyden.log({"loss": math.nan if step == 4 else 1 / (step + 1), "lr": 0.1}, step=step)
print("logged")
"""


def test_metrics_as_table_curve_json_and_csv(platform: Platform) -> None:
    platform.write("logging_.py", LOGGING)
    platform.leyden("run", "logging_.py")
    table = platform.leyden("metrics").stdout.splitlines()
    assert table[0].split() == ["METRIC", "POINTS", "LAST", "STEP", "LAST", "MIN", "MAX"]
    assert table[1].split() == ["loss", "10", "9", "0.1", "0.1", "1"]
    loss, lr = platform.json("metrics", "last", "loss", "lr")  # `system/…` come too where it took a second
    assert loss["name"] == "loss"
    assert loss["steps"] == list(range(10))
    assert loss["values"][4] is None
    assert loss["values"][1] == 0.5
    assert lr["values"] == [0.1] * 10
    rows = list(csv.DictReader(io.StringIO(platform.leyden("metrics", "last", "loss", "-o", "csv").stdout)))
    assert [row["value"] for row in rows][3:6] == ["0.25", "nan", str(1 / 6)]
    drawn = platform.leyden("metrics", "loss", "--plot").stdout  # a metric's name alone: of the newest job
    assert "loss  last 0.1  min 0.1  max 1" in drawn
    assert "lr" not in drawn
    assert max(len(line) for line in drawn.splitlines()) <= 80
    said = platform.leyden("metrics", "last", "los", check=3).stderr
    assert "did you mean 'loss'?" in said


def test_metrics_of_a_bare_script_need_no_server(platform: Platform) -> None:
    platform.write("logging_.py", LOGGING)
    subprocess.run([sys.executable, "logging_.py"], cwd=platform.project, env=platform.environ, check=True)
    (run,) = [one for one in (platform.project / "leyden_runs").iterdir() if one.is_dir()]
    by_run = platform.leyden("metrics", f"leyden_runs/{run.name}", "loss", "-o", "csv").stdout
    assert by_run == platform.leyden("metrics", "leyden_runs", "loss", "-o", "csv").stdout
    assert len(by_run.splitlines()) == 11
    assert "┤" in platform.leyden("metrics", "leyden_runs", "--log-y").stdout
    assert not platform.home.server_file.exists()  # only word of the run, for a server to come


def test_show_tells_everything(platform: Platform) -> None:
    platform.write("three.py", "import sys; sys.exit(3)")
    platform.leyden("run", "--name", "my job", "--var", "SEED=7", "three.py", "--lr", "a b", check=3)
    text = platform.leyden("show").stdout
    for wanted in ("my job", "failed", "three.py --lr 'a b'", "SEED=7", "Attempts", "Events", "queued → admitted"):
        assert wanted in text
    detail = platform.json("show")
    assert detail["job"]["exit_code"] == 3
    assert detail["attempts"][0]["exit_code"] == 3
    assert Path(detail["job"]["run_dir"]).is_dir()
    short = detail["job"]["id"][-4:]
    assert platform.json("show", short) == detail


def test_ps_before_during_and_after(platform: Platform, tmp_path: Path) -> None:
    assert "leyden run train.py" in platform.leyden("ps").stdout
    assert platform.json("ps") == []
    assert not platform.home.root.exists()  # looking starts nothing
    platform.leyden("server", "start")
    assert "leyden ps -a" in platform.leyden("ps").stdout
    platform.environ["GATE"] = str(tmp_path / "gate")
    script = "import os, time\nwhile not os.path.exists(os.environ['GATE']): time.sleep(0.02)"
    platform.write("gated.py", script)
    job = platform.leyden("submit", "--name", "evil\n\x1b[2Jname", "gated.py").stdout.strip()
    until(lambda: platform.job_state() == "running", "the start")
    head, row = platform.leyden("ps").stdout.splitlines()
    assert head.split() == ["ID", "NAME", "USER", "STATE", "AGE", "RUNTIME", "DEVICES"]
    assert row.startswith(f"{job}  evil??[2Jname")
    assert "cpu:0" in row
    assert "the newest 1 jobs" in platform.leyden("ps", "--limit", "1").stderr
    (tmp_path / "gate").touch()
    platform.leyden("wait")
    assert "succeeded" in platform.leyden("ps").stdout


def test_logs_of_a_job_that_has_not_begun(platform: Platform, tmp_path: Path) -> None:
    platform.environ["GATE"] = str(tmp_path / "gate")
    platform.write(
        "gated.py", "import os, time\nwhile not os.path.exists(os.environ['GATE']): time.sleep(0.02)\nprint(1)"
    )
    platform.leyden("submit", "gated.py")
    platform.leyden("submit", "--name", "second", "gated.py")
    done = platform.leyden("logs", "last")
    assert done.stdout == ""
    assert "printed nothing yet" in done.stderr
    follower = platform.start("logs", "last", "-f")
    (tmp_path / "gate").touch()
    assert follower.communicate()[0] == b"1\n"
    assert platform.leyden("logs", "-f", "--tail", "1").stdout == "1\n"


def test_ctrl_c_while_following_says_nothing_and_stops_nothing(
    platform: Platform, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    platform.environ["GATE"] = str(tmp_path / "gate")
    script = (
        "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists(os.environ['GATE']): time.sleep(0.02)"
    )
    platform.write("gated.py", script)
    platform.leyden("submit", "gated.py")
    window = terminal("logs", "-f")
    window.read_until("begun")
    window.press_ctrl_c()
    assert window.end() == 130
    assert window.text.replace("\r\n", "\n").strip() in {"begun\n^C", "begun"}
    assert platform.job_state() == "running"
    (tmp_path / "gate").touch()
    platform.leyden("wait")


def test_wait_for_several_and_cancel_of_the_ended(platform: Platform) -> None:
    platform.write("code.py", "import sys; sys.exit(int(sys.argv[1]))")
    jobs = [platform.leyden("submit", "code.py", str(code)).stdout.strip() for code in (0, 7, 9)]
    done = platform.leyden("wait", *jobs, check=7)
    assert [line[0] for line in done.stdout.splitlines()] == ["✓", "✗", "✗"]
    assert "had ended before" in platform.leyden("cancel", jobs[0]).stdout
    assert [job["exit_code"] for job in json.loads(platform.leyden("wait", *jobs, "-o", "json", check=7).stdout)] == [
        0,
        7,
        9,
    ]


def test_a_terminal_gets_colours_and_its_width(platform: Platform) -> None:
    platform.write("ok.py", "print('ok')")
    platform.leyden("run", "--name", "n" * 100, "ok.py")
    del platform.environ["NO_COLOR"]
    platform.environ |= {"TERM": "xterm", "COLUMNS": "60"}
    window = Terminal(platform, "ps")
    assert window.end() == 0
    window.close()
    assert "\x1b[1m" in window.text
    assert "nnn…" in window.text
    plain = platform.leyden("ps").stdout
    assert "\x1b" not in plain
    assert "n" * 100 in plain


def test_help_of_every_command(platform: Platform) -> None:
    from leyden.cli.main import COMMANDS

    overview = platform.leyden("--help").stdout
    assert overview == platform.leyden().stdout == platform.leyden("help").stdout
    for name in COMMANDS:
        assert f"\n  {name}" in overview
        text = platform.leyden(name, "--help").stdout
        assert text.startswith(f"Usage: leyden {name}")
        assert text == platform.leyden("help", name).stdout
        assert max(len(line) for line in text.splitlines()) <= 100
    assert platform.leyden("--version").stdout.startswith("leyden 0.")
    assert os.access(LEYDEN, os.X_OK)
