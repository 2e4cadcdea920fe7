"""What do hundreds of jobs of ten milliseconds leave in the server: is each run once, and is nothing left behind?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from leyden.core.ids import new_id
from tests.conformance.until import until
from tests.server.running import Running

JOBS, FIRST = 500, 40
WITHIN_S: Final = 240.0  # on a machine that others use too; 13 s where nobody does
THREADS: Final = 48  # at most forty that answer requests, and a few of its own
GROWTH_BYTES: Final = 60e6  # of which so many jobs may ask a part for caches; 0.2 MB a job would be a leak


@pytest.mark.slow
@pytest.mark.timeout(2 * WITHIN_S)
def test_hundreds_of_short_jobs_run_once_each_and_leave_nothing_behind(server: Running, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    run_all(server, FIRST, ran)
    assert server.process
    process = psutil.Process(server.process.pid)
    before = until(lambda: at_rest(process))
    run_all(server, JOBS, ran)
    after = until(lambda: at_rest(process))
    assert after["files"] <= before["files"] + 4, (before, after)
    assert after["threads"] <= THREADS, (before, after)
    assert after["bytes"] < before["bytes"] + GROWTH_BYTES, (before, after)
    assert server.get("/api/machine")["held"] == {}
    assert until(lambda: not workers_of(server.home))


def run_all(server: Running, count: int, ran: Path) -> None:
    """So many jobs that write down their id, each checked."""
    ran.unlink(missing_ok=True)
    command = ["sh", "-c", f"echo $LEYDEN_JOB_ID >> {ran}; exec sleep 0.01"]
    body = server.submission("", command=command, cpus=1)
    job = body.pop("job")
    status, made = server.ask("POST", "/api/jobs/batch", {**body, "jobs": [job] * count, "key": f"key-{new_id()}"})
    assert status == 201, made
    ids = set(made)
    assert len(ids) == count
    until(lambda: ran.exists() and ran.stat().st_size >= count * (1 + len(next(iter(ids)))), within_s=WITHIN_S)
    assert Counter(ran.read_text().split()) == dict.fromkeys(ids, 1)

    def ended() -> list[dict[str, Any]] | None:
        found = [one for one in server.get("/api/jobs?all=1&limit=10000") if one["id"] in ids]
        return found if all(one["ended_at"] for one in found) else None

    assert {(one["state"], one["attempt"]) for one in until(ended)} == {("succeeded", 1)}


def workers_of(home: Path) -> list[int]:
    """Their process ids, whoever bore them."""
    found = psutil.process_iter(["cmdline"])
    return [one.pid for one in found if any(word.startswith(f"{home}/runs") for word in one.info["cmdline"] or ())]


def at_rest(process: psutil.Process) -> dict[str, float] | None:
    """What the server holds once no worker is left of it, dead or alive, but what stands ready to bear the next."""
    for child in process.children(recursive=True):
        try:
            if "leyden.worker.plain" not in child.cmdline():
                return None
        except psutil.Error:
            return None
    with process.oneshot():
        return {"files": process.num_fds(), "threads": process.num_threads(), "bytes": process.memory_info().rss}
