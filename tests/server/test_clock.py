"""What if somebody sets the clock of the machine, two days back and forth, while the server and its workers run?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.engine import WAITS
from tests.conformance.until import until
from tests.server.running import Running
from tests.worker.test_watch import JUMPS

DAY_S: Final = 86_400
FAILS_ONCE: Final = "import os; raise SystemExit(0 if os.environ['LEYDEN_ATTEMPT'] == '2' else 3)"


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file: so many seconds the clock of the server, and of what it starts, is off."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(JUMPS)
    return tmp_path / "off"


@pytest.fixture
def server(tmp_path: Path, clock: Path) -> Iterator[Running]:
    one = Running(tmp_path / "home")
    path = f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}"
    one.start("--fake-gpus", "4", PYTHONPATH=path, JUMPS=str(clock))
    yield one
    one.end()


def test_a_clock_that_is_set_ends_no_job_and_keeps_none_waiting(server: Running, clock: Path) -> None:
    begun = server.submit(WAITS, cpus=1, time="10m")
    server.state_is(begun, "running")
    for off_s in (DAY_S, -DAY_S, 0):
        waits = server.submit(FAILS_ONCE, cpus=1, retry={"user": 1})
        until(partial(waits_for_another_try, server, waits))
        clock.with_name("draft").write_text(str(off_s))
        clock.with_name("draft").rename(clock)
        job = server.wait(waits)
        assert (job["state"], job["attempt"]) == ("succeeded", 2)
        job = server.wait(server.submit("pass", cpus=1))
        assert job["state"] == "succeeded"
        assert abs(job["created_at"] - time.time() - off_s) < 60
    assert (server.job(begun)["state"], server.job(begun)["attempt"]) == ("running", 1)
    (server.home / "runs" / begun / "go").touch()
    assert server.wait(begun)["state"] == "succeeded"
    assert server.get("/api/machine")["held"] == {}


def waits_for_another_try(server: Running, job_id: str) -> bool:
    job = server.job(job_id)
    return (job["state"], job["attempt"]) == ("queued", 1)
