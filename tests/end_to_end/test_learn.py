"""Does the tutorial say what happens? Its commands are typed as they stand there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.conftest import LEYDEN, Platform

PAGE = Path(__file__).parents[2] / "docs/learn/a-shared-machine.md"


@pytest.mark.slow
def test_a_shared_machine(platform: Platform) -> None:
    text = PAGE.read_text()
    blocks = dict.fromkeys(re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL))
    platform.write("train.py", "".join(body for kind, body in blocks if kind == "python"))
    commands = "".join(body for kind, body in blocks if kind == "bash").replace("$PWD/home", str(platform.home.root))
    done = subprocess.run(
        ["bash", "-ec", commands],
        cwd=platform.project,
        env={**platform.environ, "PATH": f"{Path(LEYDEN).parent}:{platform.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs    4 GPUs and 1 CPU; free now: " in done.stdout
    small, urgent = (platform.json("show", name)["job"] for name in ("small", "urgent"))
    assert small["started_at"] < urgent["created_at"]  # past those who had come before
    assert re.search(r"running → stopping +scheduler: makes way for job \w{4}", done.stdout)
    (sweep,) = (one.parent.parent for one in platform.home.runs.glob("*/logs/a2-r0.log"))
    saved, went_on = ((sweep / f"logs/a{attempt}-r0.log").read_text() for attempt in (1, 2))
    assert re.findall(r"saved step (\d+)", saved) == re.findall(r"from step (\d+)", went_on)
