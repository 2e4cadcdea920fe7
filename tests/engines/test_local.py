"""Does the local engine keep the contract, also when workers die or race?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from leyden.engines import record
from leyden.engines.base import Ending, Engine, Life
from leyden.engines.local import LocalEngine
from tests.conformance.engine import WAITS, EngineSuite, a_launch, outcome_of, pid_of, runs, worker_of
from tests.conformance.until import until


class TestLocalEngine(EngineSuite):
    """The whole suite."""

    def make(self) -> Engine:
        return LocalEngine()


SPAWNS = """
import os, subprocess, sys
children = [subprocess.Popen(["sleep", "600"]), subprocess.Popen(["sleep", "600"], start_new_session=True)]
print(*[child.pid for child in children], flush=True)
"""


def test_a_killed_worker_leaves_no_orphan(tmp_path: Path) -> None:
    engine = LocalEngine()
    launch = a_launch(tmp_path, SPAWNS + WAITS)
    engine.launch(launch)
    rank = pid_of(engine, launch)
    log = tmp_path / "logs/a1-r0.log"
    until(lambda: log.read_text().count("\n") == 2)
    children = [int(word) for word in log.read_text().split()]
    os.kill(worker_of(launch), signal.SIGKILL)
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    assert engine.poll([launch.ref])[launch.engine_ref].outcome is None
    assert all(runs(pid) for pid in [rank, *children])
    until(lambda: LocalEngine().release(launch.ref))  # a restarted server's: it finds all in the folder
    assert engine.release(launch.ref)
    assert not any(runs(pid) for pid in [rank, *children])


def test_a_rank_its_worker_had_no_time_to_note_is_found_too(tmp_path: Path) -> None:
    """The worker is killed between starting the rank and writing its pid: only the environment tells."""
    launch = a_launch(tmp_path, WAITS)
    orphan = subprocess.Popen(
        launch.argv,
        env={**os.environ, record.REF_VARIABLE: launch.engine_ref, "LEYDEN_RUN_DIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert record.claim(launch.folder, record.Process(pid=gone.pid, birth="0"))
    engine = LocalEngine()
    assert engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE
    until(lambda: engine.release(launch.ref))
    assert orphan.wait() == -signal.SIGKILL


def test_of_two_workers_of_one_attempt_only_one_starts_ranks(tmp_path: Path) -> None:
    launch = a_launch(tmp_path, WAITS)
    record.write_launch(launch)
    command = [sys.executable, "-m", "leyden.worker", str(launch.folder)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    engine = LocalEngine()
    pid = pid_of(engine, launch)
    loser = until(lambda: next((one for one in workers if one.poll() is not None), None))
    assert b"another worker runs this attempt" in loser.communicate()[1]
    (tmp_path / "go").touch()
    assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
    assert (tmp_path / "logs/a1-r0.log").read_text() == f"{pid}\n"
    winner = next(one for one in workers if one is not loser)
    assert winner.communicate()[1] == b""


def test_a_worker_of_a_closed_attempt_starts_nothing(tmp_path: Path) -> None:
    launch = a_launch(tmp_path, WAITS)
    record.write_launch(launch)
    assert LocalEngine().release(launch.ref)
    done = subprocess.run([sys.executable, "-m", "leyden.worker", str(launch.folder)], check=False, capture_output=True)
    assert b"closed" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_a_worker_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    """A stopped process handles no SIGTERM; force follows after the grace, told by a clock that tests may turn."""
    now = [0.0]
    engine = LocalEngine(monotonic=lambda: now[0])
    launch = a_launch(tmp_path, WAITS)
    engine.launch(launch)
    rank = pid_of(engine, launch)
    os.kill(worker_of(launch), signal.SIGSTOP)
    engine.stop(launch.ref, 1.0)
    assert engine.poll([launch.ref])[launch.engine_ref].life is Life.ALIVE
    now[0] = 60.0
    engine.stop(launch.ref, 1.0)
    until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
    until(lambda: engine.release(launch.ref))
    assert not runs(rank)


def test_attempt_files_are_for_their_owner_only(tmp_path: Path) -> None:
    launch = a_launch(tmp_path, "pass")
    record.write_launch(launch)
    assert (launch.folder / record.ATTEMPT).stat().st_mode & 0o777 == 0o600
    assert record.read_launch(launch.folder) == launch
