"""Is what a job costs known, and is it stopped once it has cost its limit?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.jobs.rows import AttemptRow
from leyden.server.prices import Prices
from tests.server.running import Running

WAITS = "import time; time.sleep(60)"


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Running]:
    """A server that was told, by one before it, that an hour of a GPU costs 3,600: 1 a second."""
    running = Running(tmp_path / "home")
    running.start("--fake-gpus", "2", "--price-gpu-hour", "3600")
    running.stop()
    running.start()
    yield running
    running.stop()


def an_attempt(number: int, *devices: str, at: float, ended_at: float | None) -> AttemptRow:
    return AttemptRow(
        uid=f"u{number}", job_id="j", number=number, engine_ref=f"r{number}", fence=number, node="n", devices=devices,
        created_at=at, ended_at=ended_at,
    )  # fmt: skip


def test_a_device_costs_as_long_as_it_is_held() -> None:
    prices = Prices(gpu_hour=2.0, cpu_hour=0.5)
    first = an_attempt(1, "gpu:0", "gpu:1", "cpu:0", "cpu:1", at=0.0, ended_at=1800.0)
    second = an_attempt(2, "gpu:0", "cpu:0", "cpu:1", at=3600.0, ended_at=None)
    assert prices.cost([first], now=9999.0) == 2.5
    assert prices.cost([first, second], now=7200.0) == 2.5 + 3.0
    assert prices.budget_s(4.0, second, [first]) == 1800.0
    assert prices.budget_s(2.0, second, [first]) == 0.0
    assert Prices(gpu_hour=2.0).budget_s(1.0, an_attempt(1, "cpu:0", at=0.0, ended_at=None), []) == float("inf")


def test_a_job_is_stopped_once_all_its_attempts_have_cost_the_limit(priced: Running) -> None:
    program = "import os, time\ntime.sleep(0.5)\nif os.environ['LEYDEN_ATTEMPT'] == '1': raise SystemExit(75)\n" + WAITS
    job_id = priced.submit(program, gpus=2, cpus=1, limits={"cost": 8.0})
    job = priced.wait(job_id)
    assert (job["state"], job["attempt"]) == ("timed_out", 2)
    assert job["reason"].startswith("stopped at its cost limit of 8: this attempt had ")
    first, second = priced.get(f"/api/jobs/{job_id}")["attempts"]
    assert first["ended_at"] - first["started_at"] + second["ended_at"] - second["started_at"] < 8.0
    assert 8.0 <= priced.get(f"/api/jobs/{job_id}")["cost"] < 16.0


def test_a_limit_that_can_never_be_reached_is_refused(priced: Running) -> None:
    status, answer = priced.ask("POST", "/api/jobs", priced.submission(WAITS, gpus=0, limits={"cost": 3.0}))
    assert status == 400
    assert "no price of CPUs" in str(answer)
    status, answer = priced.ask("POST", "/api/jobs", priced.submission(WAITS, gpus=0, limits={"idle": "5m"}))
    assert status == 400
    assert "it gets no GPU" in str(answer)
