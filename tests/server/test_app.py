"""Does the API do what it says, with real jobs, and refuse what it must?"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.conformance.engine import WAITS, runs
from tests.conformance.until import until
from tests.server.running import Running


def test_a_job_succeeds_and_all_of_it_is_on_record(server: Running) -> None:
    job_id = server.submit("print('hello')")
    job = server.wait(job_id)
    assert (job["state"], job["exit_code"], job["reason"], job["attempt"]) == ("succeeded", 0, "", 1)
    assert server.log(job_id) == server.log(job_id, follow=1) == "hello\n"
    assert server.log("last", offset=3) == "lo\n"
    detail = server.get(f"/api/jobs/{job_id[-5:]}")
    states = [event["after"] for event in detail["events"]]
    assert [states[0], states[1], states[-1]] == ["queued", "admitted", "succeeded"]
    assert detail["attempts"][0]["outcome"] == "succeeded"
    about = json.loads((server.home / "runs" / job_id / "run.json").read_text())
    assert about["id"] == job_id
    assert about["argv"] == [sys.executable, "-c", "print('hello')"]
    assert until(lambda: server.get("/api/machine")["held"] == {})


def test_the_programs_exit_code_passes_through(server: Running) -> None:
    job = server.wait(server.submit("import sys; sys.exit(3)"))
    assert (job["state"], job["exit_code"], job["reason"]) == ("failed", 3, "the program exited with code 3")


def test_the_submitters_environment_reaches_the_rank_and_nothing_else(server: Running) -> None:
    job_id = server.submit("import os; print(os.environ['SECRET_OF_ADA'], os.environ['LEYDEN_JOB_ID'])")
    server.wait(job_id)
    assert server.log(job_id) == f"xyzzy {job_id}\n"
    assert "xyzzy" not in json.dumps(server.get(f"/api/jobs/{job_id}"))
    server.stop()
    keepers = [path for path in server.home.rglob("*") if path.is_file() and b"xyzzy" in path.read_bytes()]
    assert {path.parent.name for path in keepers} == {"environs", "a1", "logs"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keepers if path.suffix == ".json")


def test_two_jobs_queue_and_the_second_knows_for_whom(server: Running) -> None:
    first, second = server.submit(WAITS), server.submit("print('second')")
    server.state_is(first, "running")
    reason = until(lambda: (text := server.job(second)["reason"]).startswith("waits for cpu:0") and text)
    assert f"held by job {first[-4:]} 'digits' (ada) for less than a minute" in str(reason)
    (server.home / "runs" / first / "go").touch()
    ended, began = server.wait(first)["ended_at"], server.wait(second)["started_at"]
    assert ended <= began
    assert server.log(second) == "second\n"


def test_a_queued_job_is_cancelled_at_once(server: Running) -> None:
    first, second = server.submit(WAITS), server.submit(WAITS)
    server.state_is(first, "running")
    status, job = server.ask("POST", f"/api/jobs/{second}/cancel")
    assert (status, job["state"]) == (200, "cancelled")
    assert not (server.home / "runs" / second / "attempts").exists()


def test_a_running_job_that_ignores_sigterm_is_cancelled(server: Running) -> None:
    job_id = server.submit("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS)
    pid = server.rank_pid(job_id)
    until(lambda: server.log(job_id))
    status, job = server.ask("POST", f"/api/jobs/{job_id}/cancel")
    assert (status, job["state"]) == (200, "stopping")
    job = server.wait(job_id)
    assert (job["state"], job["exit_code"], job["reason"]) == ("cancelled", None, "cancelled")
    assert not runs(pid)


def test_the_time_limit(server: Running) -> None:
    job = server.wait(server.submit(WAITS, time="0.5s"))
    assert (job["state"], job["exit_code"], job["reason"]) == ("timed_out", None, "stopped at its time limit of 0.5 s")


def test_two_ranks_see_the_right_variables(server: Running) -> None:
    program = "import os; print(*[os.environ[name] for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'NODE_RANK')])"
    job_id = server.submit(program, ranks=2)
    server.wait(job_id)
    assert [server.log(job_id, rank=rank) for rank in range(2)] == ["0 0 2 0\n", "1 1 2 0\n"]
    assert server.ask("GET", f"/api/jobs/{job_id}/logs?rank=2")[0] == 404


def test_a_follower_sees_lines_while_the_job_runs_and_the_end(server: Running) -> None:
    job_id = server.submit(WAITS + "\nprint('bye')")
    with server.open("GET", f"/api/jobs/{job_id}/logs?follow=1") as response:
        assert response.headers["X-Leyden-Attempt"] == "1"
        assert response.readline().strip().isdigit()
        assert server.job(job_id)["state"] in {"starting", "running"}
        (server.home / "runs" / job_id / "go").touch()
        assert response.read() == b"bye\n"
    assert server.job(job_id)["state"] == "succeeded"


def test_code_is_uploaded_once_and_run_in_its_folder(server: Running) -> None:
    tree = archive({"inner/main.py": "print(__import__('pathlib').Path.cwd().name)"})
    sha = hashlib.sha256(tree).hexdigest()
    assert server.ask("HEAD", f"/api/code/{sha}")[0] == 404
    body = {**server.submission("", command=[sys.executable, "main.py"]), "code": sha, "cwd": "inner"}
    status, error = server.ask("POST", "/api/jobs", body)
    assert (status, error["found"]) == (404, "it was never uploaded")
    assert server.ask("PUT", f"/api/code/{sha}", tree) == (204, None)
    assert server.ask("HEAD", f"/api/code/{sha}")[0] == 200
    status, job = server.ask("POST", "/api/jobs", body)
    assert (status, server.wait(job["id"])["state"]) == (201, "succeeded")
    assert server.log(job["id"]) == "inner\n"


def test_a_tree_with_another_hash_is_refused(server: Running) -> None:
    sha = hashlib.sha256(b"announced").hexdigest()
    status, error = server.ask("PUT", f"/api/code/{sha}", b"something else")
    assert (status, error["error"]) == (400, "SpecError")
    assert server.ask("HEAD", f"/api/code/{sha}")[0] == 404
    assert list((server.home / "code").iterdir()) == []


def test_a_key_seen_before_makes_no_second_job(server: Running) -> None:
    body = server.submission("pass")
    first, again = server.ask("POST", "/api/jobs", body), server.ask("POST", "/api/jobs", body)
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["id"] == again[1]["id"]
    assert len(server.get("/api/jobs?all=1")) == 1
    server.wait("last")


@pytest.mark.parametrize(
    ("change", "status", "error", "words"),
    [
        ({"jbo": 1}, 400, "SpecError", "there is no such key"),
        ({"job": {"script": "x.py", "pririty": 1}}, 400, "SpecError", "did you mean 'priority'?"),
        ({"job": {"script": "x.py", "gpus": 4096}}, 400, "PlacementError", "this machine has"),
        ({"job": {}}, 400, "SpecError", "neither is given"),
        ({"cwd": "relative"}, 400, "SpecError", "no code was captured"),
        ({"code": "0" * 64, "cwd": "../up"}, 400, "SpecError", "not inside the captured tree"),
        ({"key": ""}, 400, "SpecError", "Correct key"),
    ],
)
def test_a_bad_submit_is_refused_in_words(
    shared: Running, change: dict[str, object], status: int, error: str, words: str
) -> None:
    got, body = shared.ask("POST", "/api/jobs", {**shared.submission("pass"), **change})
    assert (got, body["error"]) == (status, error)
    assert words in f"{body['asked']}; {body['found']}. {body['do']}"
    assert shared.get("/api/jobs?all=1") == []


def test_every_route_wants_the_token(shared: Running) -> None:
    for method, path in [
        ("GET", "/api/health"),
        ("POST", "/api/jobs"),
        ("GET", "/api/openapi.json"),
        ("GET", "/nothing"),
    ]:
        for token in ("", "wrong"):
            status, body = shared.ask(method, path, token=token)
            assert (status, body["error"]) == (403, "DeniedError")
    assert shared.published()["token"] not in json.dumps(shared.get("/api/health"))


def test_reports_want_the_attempts_own_token_and_the_newest_fence(server: Running) -> None:
    job_id = server.submit(WAITS)
    server.state_is(job_id, "running")
    spec = json.loads((server.home / "runs" / job_id / "attempts/a1/attempt.json").read_text())
    path = f"/api/attempts/{spec['uid']}/report"
    outcome = {"kind": "failed", "message": "forged", "ended_at": time.time(), "exit_code": 1}
    body = {"fence": spec["fence"] - 1, "kind": "ended", "outcome": outcome}
    assert server.ask("POST", path, body)[0] == 403  # the server's own token is not the attempt's
    status, error = server.ask("POST", path, body, token=spec["token"])
    assert (status, error["error"]) == (403, "DeniedError")
    assert "older attempt" in error["do"]
    assert server.job(job_id)["state"] == "running"
    beat = {"fence": spec["fence"], "kind": "heartbeat"}
    assert server.ask("POST", path, beat, token=spec["token"])[0] == 204
    assert server.ask("GET", "/api/jobs", token=spec["token"])[0] == 403


def test_unknown_jobs_and_routes_are_named(shared: Running) -> None:
    for path in ("/api/jobs/zzzz", "/api/jobs/last", "/api/nothing", "/api/jobs/zzzz/logs"):
        status, body = shared.ask("GET", path)
        assert (status, body["error"]) == (404, "NotFoundError")


def test_lists_are_newest_first(server: Running) -> None:
    ids = [server.submit("pass", cpus=1) for _ in range(3)]
    for job_id in ids:
        server.wait(job_id)
    assert [job["id"] for job in server.get("/api/jobs")] == ids[::-1]
    assert [job["id"] for job in server.get("/api/jobs?all=1&limit=2")] == ids[:0:-1]


def test_metrics_of_a_rank_are_read_back(server: Running) -> None:
    program = (
        "import leyden\nfor step in range(3): leyden.log({'loss': float('nan') if step == 1 else step}, step=step)"
    )
    job_id = server.submit(program)
    assert server.wait(job_id)["state"] == "succeeded", server.log(job_id)
    (loss,) = server.get(f"/api/jobs/{job_id}/metrics")
    assert (loss["name"], loss["count"], loss["last"]) == ("loss", 3, 2.0)
    assert server.get(f"/api/jobs/{job_id}/metrics/series?name=loss")["values"] == [0.0, "nan", 2.0]
    assert server.ask("GET", f"/api/jobs/{job_id}/metrics/series?name=los")[0] == 404


def archive(files: dict[str, str]) -> bytes:
    """A tar.gz of these."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return whole.getvalue()


def test_the_process_that_serves_is_the_one_published(shared: Running) -> None:
    found = shared.published()
    assert shared.get("/api/health")["pid"] == found["pid"]
    assert (shared.home / "server.json").stat().st_mode & 0o777 == 0o600
    assert found["pid"] != os.getpid()


def test_a_job_whose_environment_is_being_built_says_so(server: Running, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("alpha\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        body = server.submission("print('hi')", env="requirements.txt", vars={"UV_INDEX_URL": url})
        status, job = server.ask("POST", "/api/jobs", {**body, "cwd": str(tmp_path)})
        assert status == 201
        until(lambda: server.job(job["id"])["reason"] == "building the environment of requirements.txt")
        assert server.state_is(job["id"], "starting")
        server.ask("POST", f"/api/jobs/{job['id']}/cancel")
        assert server.wait(job["id"])["state"] == "cancelled"
