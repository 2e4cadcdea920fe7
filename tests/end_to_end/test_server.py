"""Is there one server, found or started by whoever needs it, and do jobs and watchers live through its end?"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Platform, until

COUNTING = """
import os, time
until = time.monotonic() + 150
number = 0
while not os.path.exists(os.environ["GATE"]) and time.monotonic() < until:
    print("line", number, flush=True)
    number += 1
    time.sleep(0.005)
"""


@pytest.fixture
def gate(platform: Platform, tmp_path: Path) -> Path:
    path = tmp_path / "gate"
    platform.environ["GATE"] = str(path)
    platform.write("counting.py", COUNTING)
    return path


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_start_status_stop(platform: Platform) -> None:
    assert "No server runs" in platform.leyden("server", "status", check=5).stdout
    assert platform.leyden("server", "stop").stdout.startswith("No server runs")
    platform.leyden("server", "start")
    found = platform.json("server", "status")
    assert found["running"]
    assert found["home"] == str(platform.home.root)
    assert found["jobs"] == {"running": 0, "waiting": 0}
    assert platform.home.server_file.stat().st_mode & 0o777 == 0o600
    assert f"pid {found['pid']}" in platform.leyden("server", "start").stdout
    assert (found["states"], found["database"], found["store"]) == ({}, str(platform.home.database), "local")
    assert 0 < found["home_bytes"] < found["disk_bytes"] > found["free_bytes"] > 0
    text = platform.leyden("server", "status").stdout
    assert found["url"] in text
    assert str(found["pid"]) in text
    assert f"pid {found['pid']}" in platform.leyden("server", "stop").stdout
    assert not platform.home.server_file.exists()
    assert not platform.processes()


def test_status_tells_devices_jobs_and_rules_and_no_password(platform: Platform, gate: Path) -> None:
    rules = ("--keep-checkpoints", "2", "--keep-days", "30", "--keep-artifacts-days", "90", "--clean-days", "0")
    platform.leyden("server", "start", "--fake-gpus", "8", "--store", str(platform.home.root / "there"), *rules)
    platform.leyden("submit", "--gpus", "3", "counting.py")
    platform.leyden("submit", "--hold", "counting.py")
    until(lambda: platform.json("server", "status")["states"] == {"held": 1, "running": 1}, "the start")
    found = platform.json("server", "status")
    assert (found["gpus"], found["gpus_held"], found["jobs"]) == (8, 3, {"running": 1, "waiting": 1})
    text = platform.leyden("server", "status").stdout
    assert "jobs      1 held, 1 running, 0 ended" in text
    assert "3 of 8 GPUs" in text
    kept = "the newest 2 checkpoints from 30 days after a job's end, artifacts 90 days; cleans nothing"
    assert f"keeps     {kept}" in text
    gate.touch()
    platform.leyden("cancel", *[job["id"] for job in platform.json("ps")])


def test_clean_says_what_would_go_and_does_it_when_told(platform: Platform) -> None:
    assert platform.leyden("server", "clean").stdout == "There is nothing to clean.\n"
    env = platform.home.envs / "0123456789abcdef"
    env.mkdir(parents=True)
    (env / "big").write_bytes(bytes(2_000_000))
    (platform.home.envs / f".{env.name}.lock").touch()
    os.utime(platform.home.envs / f".{env.name}.lock", (0, 0))
    shown = platform.leyden("server", "clean")
    assert f"environment  {env.name}   2 MB" in shown.stdout
    assert "server clean --yes" in shown.stderr
    assert env.exists()
    (found,) = platform.json("server", "clean")["waste"]
    assert (found["kind"], found["name"], found["size_bytes"] >= 2_000_000) == ("environment", env.name, True)
    assert "1 piece, 2 MB removed" in platform.leyden("server", "clean", "--yes").stdout
    assert not env.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"keep_chekpoints": 2}', "'keep_chekpoints' is none of them. Check it: did you mean 'keep_checkpoints'?"),
        ('{"keep_checkpoints": "two"}', 'keep_checkpoints is "two". Make it a whole number, 0 or more.'),
        ('{"keep_checkpoints": 1.5}', "keep_checkpoints is 1.5. Make it a whole number, 0 or more."),
        ('{"clean_days": -1}', "clean_days is -1. Make it a number, 0 or more."),
        ('{"store": 3}', "store is 3. Make it a text."),
        ("{torn", "they cannot be read"),
        ("[]", "they cannot be read"),
    ],
)
def test_settings_that_make_no_sense_are_named(platform: Platform, text: str, words: str) -> None:
    platform.home.create()
    (platform.home.root / "settings.json").write_text(text)
    said = platform.leyden("server", "start", "--foreground", check=1).stderr
    assert words in said
    assert "settings.json" in said


def test_a_taken_port_is_named(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = platform.leyden("server", "start", "--port", port, check=1).stderr
        assert f"port {port}" in said
        assert "another program listens there" in said
        assert "server.log" in said
        done = platform.leyden("server", "start", "--port", port, "--foreground", check=1)
        assert f"port {port}" in done.stderr
    platform.leyden("server", "start", "--port", port)
    assert platform.json("server", "status")["url"].endswith(f":{port}")


def test_foreground_stops_at_ctrl_c(platform: Platform) -> None:
    server = platform.start("server", "start", "--foreground")
    until(platform.home.server_file.exists, "the server")
    assert platform.json("server", "status")["pid"] == server.pid
    server.send_signal(signal.SIGINT)
    server.communicate()
    assert server.returncode == 0


def test_a_stale_server_file_is_seen_through(platform: Platform) -> None:
    platform.home.create()
    dead = {"url": "http://127.0.0.1:9", "pid": 2**22 - 7, "token": "t", "version": "0"}
    platform.home.server_file.write_text(json.dumps(dead))
    assert "No server runs" in platform.leyden("ps").stdout
    platform.write("ok.py", "print('ok')")
    assert platform.leyden("run", "ok.py").stdout == "ok\n"
    platform.leyden("server", "stop")
    # the pid lives, but is another program
    platform.home.server_file.write_text(json.dumps({**dead, "pid": os.getpid()}))
    assert platform.leyden("run", "ok.py").stdout == "ok\n"
    platform.leyden("server", "stop")
    platform.home.server_file.write_text("{ torn")
    assert platform.leyden("run", "ok.py").stdout == "ok\n"


def test_two_runs_at_once_start_one_server(platform: Platform) -> None:
    platform.write("ok.py", "print('ok')")
    runs = [platform.start("run", "ok.py") for _ in range(4)]
    said = [run.communicate() for run in runs]
    assert [out for out, _ in said] == [b"ok\n"] * 4, said
    assert [run.returncode for run in runs] == [0] * 4
    servers = [one for one in platform.processes() if "leyden.server" in one.cmdline()]
    assert len(servers) == 1
    assert len(platform.json("ps")) == 4


def test_a_watcher_lives_through_a_killed_and_restarted_server(platform: Platform, gate: Path) -> None:
    run = platform.start("run", "counting.py")
    assert run.stdout is not None
    first = [run.stdout.readline() for _ in range(5)]
    job = platform.json("ps")[0]
    for number in (signal.SIGKILL, signal.SIGTERM):
        pid = platform.json("server", "status")["pid"]
        os.kill(pid, number)
        until(functools.partial(gone, pid), "the server's end")
        platform.leyden("server", "start")
        first += [run.stdout.readline() for _ in range(400)]
    gate.touch()
    got = b"".join(first) + run.stdout.read()  # communicate() would lose what readline() has buffered
    assert run.wait() == 0
    assert got == (Path(job["run_dir"]) / "logs" / "a1-r0.log").read_bytes()
    assert len(platform.json("show")["attempts"]) == 1


def test_jobs_go_on_while_no_server_runs(platform: Platform, gate: Path) -> None:
    platform.leyden("submit", "counting.py")
    until(lambda: platform.job_state() == "running", "the start")
    said = platform.leyden("server", "stop").stdout
    assert "1 job goes on" in said
    listed = platform.leyden("ps")
    assert "No server runs" in listed.stdout
    assert platform.json("ps") == []
    gate.touch()
    assert "✓" in platform.leyden("wait", "last").stdout  # starts the server again, which takes over


def test_a_run_gives_up_on_a_server_that_stays_away(
    platform: Platform, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leyden.client import embedded
    from leyden.client.follow import Follower
    from leyden.core.errors import UnreachableError

    job = platform.leyden("submit", "counting.py").stdout.strip()
    client = embedded.connect(platform.home)
    assert client is not None
    lost: list[UnreachableError] = []
    got: list[bytes] = []

    def write(chunk: bytes) -> None:
        if not got:
            platform.leyden("server", "stop")
        got.append(chunk)

    follower = Follower(lambda: client, job, lost=lost.append, give_up_s=1.5)
    with pytest.raises(UnreachableError, match="does not answer"):
        follower.output(write)
    assert got
    assert len(lost) == 1
    gate.touch()
    platform.leyden("wait", job)
