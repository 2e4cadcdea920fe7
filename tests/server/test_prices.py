"""Is what a job costs known, also of who has a part of a GPU, and is it stopped once it has cost its limit?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.jobs.rows import AttemptRow
from leyden.server.prices import Prices
from tests.conformance.until import until
from tests.server.running import Running

WAITS = "import time; time.sleep(60)"


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that was told, by one before it, that an hour of a GPU costs 3,600: 1 a second."""
    running = Running(tmp_path_factory.mktemp("priced") / "home")
    running.start("--fake-gpus", "4", "--price-gpu-hour", "3600")
    running.stop()
    running.start()
    yield running
    running.end()


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
    assert prices.cost([an_attempt(1, "gpu:0/4.3", "cpu:0", at=0.0, ended_at=3600.0)], now=9999.0) == 0.5 + 0.5
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


SHARES = """
import os, pathlib, time
with open({seen!r}, "a") as file:
    file.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
while not os.path.exists({gate!r}): time.sleep(0.01)
"""


def test_four_quarters_run_on_one_gpu_at_a_time(priced: Running, tmp_path: Path) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    program = SHARES.format(seen=str(seen), gate=str(gate))
    four = [priced.submit(program, share=4, gpus=1) for _ in range(4)]
    until(lambda: seen.exists() and len(seen.read_text().split()) == 4)
    assert seen.read_text().split() == ["0"] * 4
    assert {priced.job(one)["devices"][0] for one in four} == {f"gpu:0/4.{part}" for part in range(4)}
    until(lambda: {priced.job(one)["state"] for one in four} == {"running"})
    everything = priced.submit("", gpus=4)
    fifth = priced.submit("", share=4)
    why = until(lambda: (found := priced.get(f"/api/jobs/{fifth}/why"))["position"] and found)
    assert (why["needs"], why["free"]) == (
        {"gpus": 1, "share": 4, "cpus": 1}, {"gpus": 3, "share": 4, "parts": 0, "cpus": 0},
    )  # fmt: skip
    top = priced.get("/api/top")
    assert [gpu["job"] in four for gpu in top["gpus"]] == [True, False, False, False]
    assert priced.get("/api/quotas")[0]["held_gpus"] == 1
    assert set(priced.get("/api/machine")["held"]) >= {f"gpu:0/4.{part}" for part in range(4)}
    gate.touch()
    for one in four:
        assert priced.wait(one)["state"] == "succeeded"
        (attempt,) = priced.get(f"/api/jobs/{one}")["attempts"]
        assert priced.get(f"/api/jobs/{one}")["cost"] >= (attempt["ended_at"] - attempt["started_at"]) / 4
        assert priced.get(f"/api/jobs/{one}")["cost"] < attempt["ended_at"] - priced.job(one)["created_at"]
    assert {priced.wait(one)["state"] for one in (everything, fifth)} == {"succeeded"}
