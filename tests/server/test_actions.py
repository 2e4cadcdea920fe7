"""Do jobs stop, stand aside, go on and begin again as they are told, on a real server?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from leyden.core.ids import new_id
from tests.conformance.engine import WAITS
from tests.conformance.until import until
from tests.server.running import Running

# Counts its steps; on SIGTERM it saves the count as a checkpoint and ends. It goes on from the checkpoint it is told.
COUNTS = """
import json, os, pathlib, signal, sys, time
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
saved = os.environ.get("LEYDEN_RESUME_FROM")
at = int(pathlib.Path(saved, "count").read_text()) if saved else 0
print("from", at, *sys.argv[1:], flush=True)
def save(*_):
    folder = run / "checkpoints" / f"step={at}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "count").write_text(str(at))
    (folder / "manifest.json").write_text(json.dumps({"step": at, "created_at": time.time()}))
    print("saved", at, flush=True)
    sys.exit(CODE)
signal.signal(signal.SIGTERM, save)
while not (run / "go").exists():
    at += 1
    time.sleep(0.01)
"""


def counts(code: int = 143) -> str:
    return COUNTS.replace("CODE", str(code))


def ask(server: Running, job_id: str, what: str, **body: Any) -> dict[str, Any]:
    sent = {"key": f"key-{new_id()}", **body} if what in {"retry", "fork"} else None
    status, found = server.ask("POST", f"/api/jobs/{job_id}/{what}", sent)
    assert status in (200, 201), found
    assert isinstance(found, dict)
    return found


def running(server: Running, job_id: str, attempt: int = 1) -> None:
    """Until it has printed its first line."""
    until(lambda: "from" in (server.log(job_id, attempt=attempt) if server.job(job_id)["attempt"] >= attempt else ""))


def saved(server: Running, job_id: str, attempt: int = 1) -> int:
    return int(server.log(job_id, attempt=attempt).split("saved ")[1])


def test_a_paused_job_gives_its_devices_back_and_goes_on_where_it_stood(server: Running) -> None:
    job_id = server.submit(counts())
    running(server, job_id)
    assert ask(server, job_id, "pause")["state"] == "stopping"
    job = server.state_is(job_id, "paused")
    assert job["exit_code"] is None
    assert [one["outcome"] for one in server.get(f"/api/jobs/{job_id}")["attempts"]] == ["requeue"]
    assert until(lambda: server.get("/api/machine")["held"] == {})
    assert ask(server, job_id, "resume")["state"] == "queued"
    running(server, job_id, attempt=2)
    assert server.log(job_id, attempt=2) == f"from {saved(server, job_id)}\n"
    (server.home / "runs" / job_id / "go").touch()
    assert (server.wait(job_id)["state"], server.job(job_id)["attempt"]) == ("succeeded", 2)


def test_a_job_of_higher_priority_takes_the_place_of_one_that_may_be_interrupted(server: Running) -> None:
    low = server.submit(counts(), priority=10, preempt={"grace_s": 10})
    running(server, low)
    high = server.submit(WAITS, priority=90)
    server.state_is(high, "running")
    assert server.job(low)["state"] == "queued"
    (server.home / "runs" / high / "go").touch()
    assert server.wait(high)["state"] == "succeeded"
    running(server, low, attempt=2)
    assert server.log(low, attempt=2) == f"from {saved(server, low)}\n"
    (server.home / "runs" / low / "go").touch()
    assert server.wait(low)["state"] == "succeeded"


def test_exit_75_begins_again_and_a_failing_program_only_as_often_as_allowed(server: Running) -> None:
    again = "import os, sys; sys.exit(75 if os.environ['LEYDEN_ATTEMPT'] == '1' else 0)"
    job = server.wait(server.submit(again))
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    job = server.wait(server.submit("import sys; sys.exit(3)", retry={"user": 1}))
    assert (job["state"], job["attempt"], job["exit_code"]) == ("failed", 2, 3)


def test_held_jobs_and_jobs_after_others_wait(server: Running) -> None:
    held = server.submit("print('held')", hold=True)
    first = server.submit(WAITS, cpus=1)
    second = server.submit("print('second')", after=[first])
    server.state_is(first, "running")
    why = until(lambda: (found := server.get(f"/api/jobs/{second}/why"))["code"] == "after" and found)
    assert first[-4:] in why["text"]
    assert server.get(f"/api/jobs/{held}/why")["code"] == "held"
    (server.home / "runs" / first / "go").touch()
    assert server.wait(second)["state"] == "succeeded"
    assert server.job(held)["state"] == "held"
    ask(server, held, "release")
    assert server.wait(held)["state"] == "succeeded"


def test_a_fork_has_the_code_of_the_other_and_begins_at_its_step(server: Running) -> None:
    job_id = server.submit(counts(), args=["--lr", "0.1"])
    running(server, job_id)
    ask(server, job_id, "pause")
    server.state_is(job_id, "paused")
    at = saved(server, job_id)
    status, refused = server.ask("POST", f"/api/jobs/{job_id}/fork", {"key": "key-nonsense", "step": at + 1})
    assert (status, refused["found"]) == (404, f"it has those of step {at}")
    fork = ask(server, job_id, "fork", step=at, set={"lr": "0.2"})
    (server.home / "runs" / fork["id"]).mkdir(exist_ok=True)
    (server.home / "runs" / fork["id"] / "go").touch()
    assert server.wait(fork["id"])["state"] == "succeeded"
    assert server.log(fork["id"]) == f"from {at} --lr 0.2\n"
    status, refused = server.ask("POST", f"/api/jobs/{job_id}/retry", {"key": "key-nonsense"})
    assert (status, refused["error"]) == (409, "ConflictError")


def test_a_retry_repeats_an_ended_job(server: Running) -> None:
    job_id = server.submit("import sys; print('hello'); sys.exit(1)")
    server.wait(job_id)
    second = ask(server, job_id, "retry")
    assert second["id"] != job_id
    assert server.wait(second["id"])["state"] == "failed"
    assert server.log(second["id"]) == "hello\n"


def test_a_batch_is_all_or_nothing_and_once(server: Running) -> None:
    body = server.submission("print(1)")
    job = body.pop("job")
    status, ids = server.ask("POST", "/api/jobs/batch", {**body, "jobs": [{**job, "cpus": 1}] * 5})
    assert (status, len(set(ids))) == (201, 5)
    status, same = server.ask("POST", "/api/jobs/batch", {**body, "jobs": [{**job, "cpus": 1}] * 5})
    assert (status, same) == (201, ids)
    bad = {**body, "key": "another-key", "jobs": [job, {**job, "cpus": 10_000}]}
    status, error = server.ask("POST", "/api/jobs/batch", bad)
    assert (status, error["error"]) == (400, "PlacementError")
    assert len(server.get("/api/jobs?all=1")) == 5
    assert all(server.wait(one)["state"] == "succeeded" for one in ids)


def test_events_come_as_they_happen(server: Running) -> None:
    job_id = server.submit("print(1)")
    server.wait(job_id)
    with server.open("GET", f"/api/events?follow=1&job={job_id}") as response:
        assert response.getheader("content-type", "").startswith("text/event-stream")
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["after"] != "succeeded":
            line = response.readline()
            if line.startswith(b"data: "):
                seen.append(json.loads(line.removeprefix(b"data: ")))
    assert [one["after"] for one in seen][:2] == ["queued", "admitted"]
    rest = server.get(f"/api/events?after={seen[-2]['id']}&job={job_id}")
    assert rest == [seen[-1]]


@pytest.mark.parametrize("what", ["pause", "resume", "hold", "release"])
def test_what_does_not_fit_to_the_state_is_refused(shared: Running, what: str) -> None:
    job_id = shared.submit("print(1)")
    shared.wait(job_id)
    status, error = shared.ask("POST", f"/api/jobs/{job_id}/{what}")
    assert (status, error["error"]) == (409, "ConflictError")
    assert "it is succeeded" in error["found"]
