"""Does a job run as often as it should when the server is killed just before, or just after, any commit of its life?"""

from __future__ import annotations

import http.client
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.until import until
from tests.server.running import Running

PROGRAM = """
import os, sys
number = os.environ["LEYDEN_ATTEMPT"]
open(os.environ["LEYDEN_RUN_DIR"] + "/starts", "a").write(number)
print("done", number)
sys.exit(75 if number == "1" else 0)
"""
COMMITS = 8  # at the least: submitted, admitted, launched, ended, and once more the last three, cleaned
STARTED = ["admitted", "starting", "running"]


@pytest.mark.slow
def test_each_attempt_runs_once_whichever_commit_the_server_dies_at(tmp_path: Path) -> None:
    """Of a job that asks to be started again once."""
    with ThreadPoolExecutor(2) as pool:
        deaths = list(pool.map(partial(die_at_each, tmp_path), ["before", "after"]))
    assert min(deaths) >= COMMITS, deaths


def die_at_each(folder: Path, when: str) -> int:
    """How often it died: at its first commit, at its second, and so on until a job is over before that.

    The server that is to die next is the one that takes over the job before.
    """
    server, now, body = Running(folder / when), folder / f"{when}-now", None
    try:
        for number in range(1, 30):
            now.unlink(missing_ok=True)
            server.start(LEYDEN_FAILPOINT=f"{number}:{when}:{now}")
            if body:
                assert_ran(server, body)
            body = server.submission(PROGRAM)
            now.touch()
            answered(server, "/api/jobs", body)
            until(partial(dead_or_over, server, body["key"]))
            # One more write, which changes nothing: once that is answered, it has outlived the job's last commit.
            if answered(server, "/api/jobs/last/cancel"):
                now.unlink()
                assert_ran(server, body)
                return number - 1
            assert server.process
            assert server.process.wait(20) == -signal.SIGKILL
    finally:
        server.end()
    raise AssertionError("commits without end")


def answered(server: Running, path: str, body: object = None) -> bool:
    """Whether it lived to answer."""
    with suppress(http.client.HTTPException, ConnectionError):
        return server.ask("POST", path, body)[0] < 300
    return False


def dead_or_over(server: Running, key: str) -> bool:
    """Whether the server has died, or nothing of the job is left to be put on record."""
    if server.process and server.process.poll() is not None:
        return True
    with closing(sqlite3.connect(f"file:{server.home}/leyden.db?mode=ro", uri=True)) as database:
        left = "SELECT 1 FROM attempts WHERE job_id = jobs.id AND cleaned_at IS NULL"
        query = f"SELECT count(*) FROM jobs WHERE key = ? AND ended_at IS NOT NULL AND NOT EXISTS ({left})"
        return bool(database.execute(query, (key,)).fetchone()[0])


def assert_ran(server: Running, body: dict[str, object]) -> None:
    """Whoever got no answer asks again with the same key, and gets the same job."""
    status, job = server.ask("POST", "/api/jobs", body)
    assert status in {200, 201}
    job = server.wait(job["id"])
    assert (job["state"], job["attempt"], job["exit_code"]) == ("succeeded", 2, 0), job
    assert (server.home / "runs" / job["id"] / "starts").read_text() == "12"
    assert [server.log(job["id"], attempt=number) for number in (1, 2)] == ["done 1\n", "done 2\n"]
    lived = [event["after"] for event in server.get(f"/api/jobs/{job['id']}")["events"]]
    assert lived == ["queued", *STARTED, "queued", *STARTED, "succeeded"]
    assert server.get("/api/machine")["held"] == {}
    until(partial(dead_or_over, server, str(body["key"])))  # so that no commit of it is counted
