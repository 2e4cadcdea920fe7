"""Does each end of a job have its exit code, and each view its JSON?"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from leyden.cli.common import ending, exit_code, print_json, runtime_s
from leyden.core.log_views import MetricView
from leyden.core.views import JobView

JOB = JobView(
    id="00000q7k2z", name="train", user="ada", state="succeeded", reason="", priority=50, attempt=1,
    node="n", devices=[], created_at=0.0, started_at=10.0, ended_at=85.0, exit_code=0, run_dir="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("succeeded", 0, 0),
        ("failed", 3, 3),
        ("failed", -9, 137),  # killed by signal 9, as shells say it
        ("failed", None, 104),  # its machine or worker was lost: there is no code
        ("failed", 0, 1),  # success is a record, never an exit code alone
        ("cancelled", None, 103),
        ("cancelled", 0, 103),
        ("timed_out", -15, 105),
    ],
)
def test_exit_codes(state: str, code: int | None, expected: int) -> None:
    assert exit_code(replace(JOB, state=state, exit_code=code)) == expected


def test_the_end_in_words() -> None:
    assert ending(JOB) == "✓ 7k2z succeeded after 1m15s"
    assert (
        ending(replace(JOB, state="timed_out", reason="limit\n\x1b[2J")) == "✗ 7k2z timed out after 1m15s: limit??[2J"
    )
    assert ending(replace(JOB, state="cancelled", reason="cancelled", started_at=None)) == "✗ 7k2z cancelled"


def test_a_job_that_stands_aside_does_not_run() -> None:
    assert [runtime_s(replace(JOB, state=one, ended_at=None), 20.0) for one in ("running", "paused")] == [10.0, None]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    row = MetricView(name="λ", count=1, last_step=0, last=math.nan, least=-math.inf, greatest=1.5)
    print_json([row])
    text = capsys.readouterr().out
    assert "λ" in text
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == [{"name": "λ", "count": 1, "last_step": 0, "last": None, "least": None, "greatest": 1.5}]
