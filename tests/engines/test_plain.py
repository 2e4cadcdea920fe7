"""Are workers that are forked off a plain process as good as those that are started anew?"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from leyden.engines import nursery, record
from leyden.engines.base import Ending, Engine, Life
from leyden.engines.local import LocalEngine
from tests.conformance.engine import WAITS, EngineSuite, a_launch, outcome_of, pid_of, runs
from tests.conformance.until import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
TELLS = "import json, os; print(json.dumps([dict(os.environ), os.getcwd(), os.getppid(), os.getsid(0) == os.getpid()]))"


class Ready:
    """Engines with a plain process that stands ready."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, list[LocalEngine]()

    def make(self) -> LocalEngine:
        """One more."""
        known = plain_ones()
        engine = LocalEngine(answer_s=20.0, plain=True)
        self._made.append(engine)
        folder = self._folder / str(len(self._made))
        folder.mkdir()
        launch = a_launch(folder, "pass", engine_ref=f"{self._folder.name}-{len(self._made)}")
        engine.launch(launch)
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
        until(lambda: any(one.children() for one in plain_ones() if one not in known))  # the next worker is born
        return engine

    def close(self) -> None:
        """End them."""
        for one in self._made:
            one.close()


def plain_ones() -> list[psutil.Process]:
    """Of this test, that live."""
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # dead, and not reaped yet
            found += [one] if "leyden.worker.plain" in one.cmdline() else []
    return found


@pytest.fixture(autouse=True)
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ready]:
    monkeypatch.setattr(nursery, "PLAIN_AFTER", 1)
    (tmp_path / "before").mkdir()
    one = Ready(tmp_path / "before")
    yield one
    one.close()


class TestForkedWorkers(EngineSuite):
    """The whole suite."""

    @pytest.fixture(autouse=True)
    def _ready(self, ready: Ready) -> None:
        self.ready = ready

    def make(self) -> Engine:
        return self.ready.make()


def test_a_rank_sees_what_it_sees_of_a_worker_started_anew(ready: Ready, tmp_path: Path) -> None:
    told = []
    for name, engine in (("new", LocalEngine()), ("forked", ready.make())):
        (tmp_path / name).mkdir()
        launch = a_launch(tmp_path / name, TELLS, cwd=str(tmp_path))
        engine.launch(launch)
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
        text = (tmp_path / name / "logs/a1-r0.log").read_text()
        worker = record.read_worker(launch.folder)
        assert worker
        assert worker.worker
        told.append(json.loads(text.replace(f"/{name}", "/run").replace(f'"{name}', '"run')))
        assert told[-1][2] == worker.worker.pid
        assert (launch.folder / record.LOG).read_text() == ""
    (new, *_), (forked, *_) = told
    assert forked == new
    assert told[0][1::2] == told[1][1::2]


def test_workers_outlive_it_and_the_engine_helps_itself(ready: Ready, tmp_path: Path) -> None:
    engine = ready.make()
    (plain,) = plain_ones()
    first, second = (a_launch(tmp_path / name, WAITS, cwd=str(tmp_path)) for name in ("first", "second"))
    for launch in (first, second):
        Path(launch.run_dir).mkdir()
    engine.launch(first)
    rank = pid_of(engine, first)
    worker = record.read_worker(first.folder)
    assert worker
    assert worker.worker
    assert psutil.Process(worker.worker.pid).ppid() == plain.pid
    waiting = plain.children()
    os.kill(plain.pid, signal.SIGKILL)
    forked = worker.worker.pid  # it has its orders
    until(lambda: not [one for one in waiting if one.pid != forked and runs(one.pid)])
    engine.launch(second)
    assert runs(pid_of(engine, second))
    assert runs(rank)
    for launch in (first, second):
        Path(launch.run_dir, "go").touch()
        assert outcome_of(engine, launch).kind is Ending.SUCCEEDED
        assert engine.poll([launch.ref])[launch.engine_ref].life is Life.GONE
    until(lambda: [one for one in plain_ones() if one.pid != plain.pid])  # there is another by now
