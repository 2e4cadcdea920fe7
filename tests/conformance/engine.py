"""What must every engine do? A test class of an engine derives from EngineSuite and says how to make one."""

from __future__ import annotations

import os
import sys
import textwrap
from abc import abstractmethod
from pathlib import Path

import psutil
import pytest

from leyden.engines import record
from leyden.engines.base import Ending, Engine, Launch, Life, Outcome
from tests.conformance.until import until

GRACE_S = 0.5


class EngineSuite:
    """Launch, adopt, stop and release with real processes."""

    @abstractmethod
    def make(self) -> Engine:
        """An engine that remembers nothing in memory: what a restarted server has."""

    @pytest.fixture
    def engine(self) -> Engine:
        return self.make()

    def test_inventory_names_the_node_and_its_cpus(self, engine: Engine) -> None:
        machine = engine.inventory()
        assert machine.node
        assert machine.cpus >= 1
        assert machine.memory_bytes > 1 << 28

    def test_an_attempt_ends_with_the_exit_code_of_its_program(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, "import sys; print('hello'); sys.exit(3)")
        engine.launch(launch)
        outcome = outcome_of(engine, launch)
        assert (outcome.kind, outcome.exit_code) == (Ending.FAILED, 3)
        assert (tmp_path / "logs/a1-r0.log").read_text() == "hello\n"

    def test_launching_twice_starts_once(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, WAITS)
        engine.launch(launch)
        engine.launch(launch)
        pid = pid_of(engine, launch)
        other = self.make()
        other.launch(launch)
        assert pid_of(other, launch) == pid
        (tmp_path / "go").touch()
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
        assert (tmp_path / "logs/a1-r0.log").read_text() == f"{pid}\n"

    def test_a_new_engine_adopts_what_runs(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, WAITS)
        engine.launch(launch)
        pid = pid_of(engine, launch)
        adopted = self.make()
        seen = adopted.poll([launch.ref])[launch.engine_ref]
        assert (seen.life, seen.pid, seen.outcome) == (Life.ALIVE, pid, None)
        (tmp_path / "go").touch()
        assert outcome_of(adopted, launch).kind is Ending.SUCCEEDED
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED

    def test_stop_ends_a_rank_that_ignores_sigterm(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS)
        engine.launch(launch)
        pid = pid_of(engine, launch)
        until((tmp_path / "logs/a1-r0.log").read_text)
        engine.stop(launch.ref, GRACE_S)
        assert outcome_of(engine, launch).kind is Ending.CANCELLED
        assert not psutil.pid_exists(pid)

    def test_an_attempt_never_launched_is_unknown_and_can_be_closed(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, WAITS)
        assert engine.poll([launch.ref])[launch.engine_ref].life is Life.UNKNOWN
        assert engine.release(launch.ref)
        engine.launch(launch)
        until(lambda: engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE)
        assert not (tmp_path / "logs").exists()

    def test_children_left_by_a_finished_rank_are_gone_with_the_outcome(self, engine: Engine, tmp_path: Path) -> None:
        launch = a_launch(tmp_path, "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)")
        engine.launch(launch)
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
        assert not runs(int((tmp_path / "logs/a1-r0.log").read_text()))


WAITS = """
import os, pathlib, time
print(os.getpid(), flush=True)
go = pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "go")
while not go.exists():
    time.sleep(0.01)
"""


def a_launch(run_dir: Path, program: str, **changes: object) -> Launch:
    """An attempt that runs a Python program."""
    fields: dict[str, object] = {
        "engine_ref": f"{run_dir.name}-a1",
        "job_id": "0000000001",
        "number": 1,
        "uid": "u1",
        "fence": 1,
        "token": "secret",
        "api_url": "",
        "argv": (sys.executable, "-c", textwrap.dedent(program)),
        "run_dir": str(run_dir),
        "cwd": str(run_dir),
        "environ": dict(os.environ),
        "vars": {},
        "stop_grace_s": GRACE_S,
    }
    return Launch(**{**fields, **changes})  # type: ignore[arg-type]


def outcome_of(engine: Engine, launch: Launch) -> Outcome:
    """How it ended, once it has and nothing of it is left."""
    outcome = until(lambda: engine.poll([launch.ref])[launch.engine_ref].outcome)
    until(lambda: engine.release(launch.ref))
    return outcome


def pid_of(engine: Engine, launch: Launch) -> int:
    """Rank 0's, once it runs."""
    return until(lambda: engine.poll([launch.ref])[launch.engine_ref].pid)


def worker_of(launch: Launch) -> int:
    """The process id of the worker that has claimed the attempt."""
    file = record.read_worker(launch.folder)
    assert file is not None
    assert file.worker is not None
    return file.worker.pid


def runs(pid: int) -> bool:
    """Whether the process is there and not only waits to be reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
