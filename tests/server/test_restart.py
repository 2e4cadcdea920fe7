"""Do jobs outlive the server, and does the next one tell the truth about them?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.conformance.engine import WAITS, runs
from tests.conformance.until import until
from tests.server.running import Running

COUNTS = """
import os, pathlib, time
go = pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go")
number = 0
while not go.exists():
    print(number)
    number += 1
    time.sleep(0.002)
print("end", os.getpid())
"""


def test_a_killed_server_comes_back_to_the_same_process_and_no_line_is_lost(server: Running) -> None:
    job_id = server.submit(COUNTS)
    pid = server.rank_pid(job_id)
    log = server.log_file(job_id)
    server.kill()
    size = log.stat().st_size
    until(lambda: log.stat().st_size > size + 100)  # it goes on without a server
    server.start()
    assert server.state_is(job_id, "running")["attempt"] == 1
    assert server.rank_pid(job_id) == pid
    (server.home / "runs" / job_id / "go").touch()
    assert server.wait(job_id)["state"] == "succeeded"
    *numbers, last = server.log(job_id).splitlines()
    assert [int(line) for line in numbers] == list(range(len(numbers)))
    assert last == f"end {pid}"


def test_a_clean_stop_leaves_jobs_running_and_followers_go(server: Running) -> None:
    job_id = server.submit(WAITS)
    pid = server.rank_pid(job_id)
    with server.open("GET", f"/api/jobs/{job_id}/logs?follow=1") as response:
        response.readline()
        assert server.stop() == 0
        assert response.read() == b""
    assert server.published() == {}
    assert runs(pid)
    server.start()
    assert server.rank_pid(job_id) == pid
    (server.home / "runs" / job_id / "go").touch()
    assert server.wait(job_id)["state"] == "succeeded"


def test_a_job_that_ends_while_the_server_is_down_ends_truthfully(server: Running) -> None:
    job_id = server.submit(WAITS + "\nraise SystemExit(7)")
    server.rank_pid(job_id)
    server.kill()
    (server.home / "runs" / job_id / "go").touch()
    until((server.home / "runs" / job_id / "attempts/a1/outcome.json").exists)
    server.start()
    job = server.wait(job_id)
    assert (job["state"], job["exit_code"]) == ("failed", 7)


def test_a_job_queued_behind_one_that_ended_meanwhile_starts_after_the_restart(server: Running) -> None:
    first, second = server.submit(WAITS), server.submit("print('mine')")
    server.rank_pid(first)
    server.kill()
    (server.home / "runs" / first / "go").touch()
    server.start()
    assert server.wait(second)["state"] == "succeeded"
    assert server.log(second) == "mine\n"


def test_a_killed_worker_fails_the_job_as_infra_and_frees_its_devices(server: Running) -> None:
    job_id = server.submit(WAITS, retry={"infra": 0})
    pid = server.rank_pid(job_id)
    worker = json.loads((server.home / "runs" / job_id / "attempts/a1/worker.json").read_text())["worker"]["pid"]
    os.kill(worker, signal.SIGKILL)
    job = server.wait(job_id)
    assert (job["state"], job["exit_code"]) == ("failed", None)
    assert "the worker process died" in job["reason"]
    assert server.get(f"/api/jobs/{job_id}")["attempts"][0]["outcome"] == "infra"
    assert not runs(pid)
    assert server.get("/api/machine")["held"] == {}
    assert server.wait(server.submit("pass"))["state"] == "succeeded"


def test_a_worker_killed_together_with_the_server_is_found_dead_later(server: Running) -> None:
    job_id = server.submit(WAITS, retry={"infra": 0})
    pid = server.rank_pid(job_id)
    worker = json.loads((server.home / "runs" / job_id / "attempts/a1/worker.json").read_text())["worker"]["pid"]
    server.kill()
    os.kill(worker, signal.SIGKILL)
    server.start()
    assert server.wait(job_id)["state"] == "failed"
    assert not runs(pid)


def test_a_second_server_of_the_same_home_is_refused(server: Running) -> None:
    done = serve(server.home)
    assert done.returncode == 1
    assert done.stderr.startswith("leyden server: starting a server on ")
    assert f"one already runs there, with pid {server.published()['pid']}" in done.stderr
    assert server.get("/api/health")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = serve(tmp_path / "home", "--port", str(port))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"the server is to listen on port {port}; another program listens there" in done.stderr
    assert "`--port`" in done.stderr


def test_a_restarted_server_keeps_its_port(server: Running) -> None:
    url = server.published()["url"]
    server.kill()
    server.start()
    assert server.published()["url"] == url


def serve(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leyden.server", "--home", str(home), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
