"""Is the record whole after every one of ten thousand random things that can happen to jobs, workers and the server?"""

from __future__ import annotations

import shutil
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from leyden.core.errors import ConflictError, DeniedError
from leyden.core.job import Job
from leyden.core.policy import Retry
from leyden.core.states import State
from leyden.engines.base import Ending, Gpu, Machine
from leyden.jobs import life
from leyden.jobs.keeper import Keeper
from leyden.jobs.rows import JobRow, get_attempt, get_job
from leyden.jobs.store import Store
from tests.jobs.invariants import Watcher, each_held_once
from tests.jobs.samples import a_job
from tests.jobs.scripted import Attempt, Crash, Fuse, Fused, World

MACHINE = Machine(
    node="n", cpus=4, memory_bytes=1, gpus=tuple(Gpu(index=index, name="T", memory_bytes=1) for index in range(2))
)
PICK = st.integers(0, 1_000_000)
RARELY = st.sampled_from([False, False, False, True])
DONE = st.sampled_from([*Ending, Ending.SUCCEEDED, Ending.SUCCEEDED])
JOBS = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([0, 50, 100]),
        "gpus": st.integers(0, 2),
        "gpus_most": st.sampled_from([0, 0, 2]),
        "share": st.sampled_from([1, 1, 2, 4]),
        "cpus": st.integers(1, 4),
        "user": st.sampled_from(["ada", "bob"]),
        "preempt_grace_s": st.sampled_from([None, 5.0]),
        "time_s": st.sampled_from([None, 60.0]),
        "retry": st.integers(0, 2),
        "state": st.sampled_from([State.QUEUED, State.QUEUED, State.QUEUED, State.HELD]),
        "after": st.none() | st.none() | PICK,
    }
)


class Lives(RuleBasedStateMachine):
    """Users, workers, the machine and the server, in any order."""

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a folder: it is not the disk that is tried here.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.now = 1_000_000.0
        self.world = World(MACHINE)
        self.watcher = Watcher()
        self.ids: list[str] = []
        self.changed = threading.Event()
        self.told: list[tuple[Attempt, str]] = []  # every report sent so far: any of them may come again
        self._open()

    def teardown(self) -> None:
        try:
            self._let_all_end()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    def _open(self) -> None:
        self.store = Store(self.folder / "leyden.db", on_commit=lambda changed: self.changed.set())
        self._start()

    def _start(self) -> None:
        self.fuse = Fuse()
        self.world.fuse = self.fuse
        self.keeper = Keeper(
            store=Fused(self.store, self.fuse),  # type: ignore[arg-type]
            engine=self.world,
            machine=MACHINE,
            runs=self.folder,
            prepare=self.world.prepare,
            clock=lambda: self.now,
            stop_grace_s=1.0,
        )

    @initialize(fields=st.lists(JOBS, min_size=3, max_size=3))
    def there_are_jobs(self, fields: list[dict[str, Any]]) -> None:
        for one in fields:
            self.submit(one)

    @rule(fields=JOBS, again=RARELY)
    def submit(self, fields: dict[str, Any], again: bool = False) -> None:
        fields = dict(fields)
        retry, after = fields.pop("retry"), fields.pop("after")
        if fields["gpus"] != 1:
            fields["gpus_most"] = 0
        if fields["gpus"] != 1 or fields["gpus_most"]:
            fields["share"] = 1
        spec = Job(command=("true",), retry=Retry(infra=2 * retry, user=retry)).model_dump_json()
        before = (self.ids[after % len(self.ids)],) if after is not None and self.ids else ()
        job = a_job(**fields, spec=spec, reason="new", after=before, created_at=self.now)
        recorded, new = self.store.write(lambda connection: life.submit(connection, job))
        assert new
        self.ids.append(recorded.id)
        self.changed.set()
        if again:
            twin = a_job(key=job.key)
            assert self.store.write(lambda connection: life.submit(connection, twin)) == (job, False)

    @rule(hidden=RARELY, broken=RARELY)
    def make_a_pass(self, hidden: bool, broken: bool) -> None:
        self.world.hidden, self.world.broken = hidden, broken
        self.keeper.step()
        self.world.hidden = self.world.broken = False

    @rule()
    def make_passes_until_nothing_is_freed(self) -> None:
        for _ in range(20):
            if not self.keeper.step():
                return
        raise AssertionError("passes free devices without end")

    @rule()
    def all_that_was_launched_runs(self) -> None:
        for one in self.world.running():
            one.started_at = one.started_at or self.now
        self.keeper.step()

    @rule(after=st.integers(1, 12), deep=st.sampled_from([False, False, True]))
    def crash_in_a_pass(self, after: int, deep: bool) -> None:
        self.fuse.left = after
        with suppress(Crash):
            self.keeper.step()
        self.fuse.left = None
        if deep:  # it costs thirty steps' time
            self.store.close()
            self._open()
        else:
            self._start()

    @precondition(lambda self: self.world.running())
    @rule(pick=PICK, kind=DONE, tells=st.booleans())
    def an_attempt_ends(self, pick: int, kind: Ending, tells: bool) -> None:
        one = self._running(pick)
        self.world.end(one, kind, self.now)
        if tells:
            self._report(one, "ended")

    @precondition(lambda self: any(one.asked for one in self.world.running()))
    @rule(pick=PICK, kind=st.sampled_from([Ending.CANCELLED, Ending.REQUEUE, Ending.FAILED, Ending.SUCCEEDED]))
    def one_that_was_asked_to_stops(self, pick: int, kind: Ending) -> None:
        asked = [one for one in self.world.running() if one.asked]
        self.world.end(asked[pick % len(asked)], kind, self.now)

    @precondition(lambda self: self.world.running())
    @rule(pick=PICK, leftovers=st.integers(0, 5))
    def a_worker_dies(self, pick: int, leftovers: int) -> None:
        one = self._running(pick)
        one.alive, one.leftovers = False, leftovers

    @precondition(lambda self: self.world.running())
    @rule(pick=PICK)
    def a_worker_beats(self, pick: int) -> None:
        self._report(self._running(pick), "heartbeat")

    @precondition(lambda self: self.told)
    @rule(pick=PICK, older=st.integers(0, 2))
    def a_report_comes_again(self, pick: int, older: int) -> None:
        one, kind = self.told[pick % len(self.told)]
        self._report(one, kind, fence=one.fence - older)

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, active=st.booleans(), what=st.sampled_from([life.cancel, life.pause, life.hold, None, None]))
    def one_is_asked_to_stop(self, pick: int, active: bool, what: Any) -> None:
        known = [key for key in self.ids if self.watcher.jobs[key].state.active] if active else []
        key = (known or self.ids)[pick % len(known or self.ids)]
        if what is None:
            self.store.write(lambda connection: life.preempt(connection, key, at=self.now, why="makes way"))
            return
        with suppress(ConflictError):
            self.store.write(lambda connection: what(connection, key, at=self.now, who="ada"))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, what=st.sampled_from([life.resume, life.release]))
    def one_is_let_go_on(self, pick: int, what: Any) -> None:
        state = State.PAUSED if what is life.resume else State.HELD
        known = [key for key in self.ids if self.watcher.jobs[key].state is state]
        key = (known or self.ids)[pick % len(known or self.ids)]
        with suppress(ConflictError):
            self.store.write(lambda connection: what(connection, key, at=self.now, who="ada"))

    @rule(by_s=st.sampled_from([-86_400.0, -5.0, 0.1, 5.0, 61.0, 61.0, 86_400.0]))
    def the_clock_jumps(self, by_s: float) -> None:
        self.now += by_s

    @invariant()
    def the_record_is_whole(self) -> None:
        self.store.write(lambda _: None)  # all that was asked for before is on record by then, and has rung
        if self.changed.is_set():
            self.changed.clear()
            self.store.read(self.watcher.look)
        assert set(self.watcher.jobs) == set(self.ids), "a job was lost"
        busy = self.world.busy()
        assert each_held_once(busy), "processes of two attempts on one device"

    def _running(self, pick: int) -> Attempt:
        running = self.world.running()
        return running[pick % len(running)]

    def _report(self, one: Attempt, kind: str, *, fence: int | None = None) -> None:
        """As the server takes it from a worker."""
        self.told.append((one, kind))

        def work(connection: Any) -> None:
            attempt = life.check_fence(connection, one.uid, one.fence if fence is None else fence)
            life.heartbeat(connection, attempt, at=self.now)
            if kind == "ended" and one.outcome:
                life.ended(connection, attempt, one.outcome, at=self.now)

        newest = self.store.read(partial(newest_fence, uid=one.uid))
        try:
            self.store.write(work)
            assert fence in {None, newest}
            assert one.fence == newest
        except DeniedError:
            assert newest != (one.fence if fence is None else fence) or fence not in {None, one.fence}

    def _let_all_end(self) -> None:
        """Nothing is stuck: with a machine that works, every job that may run runs to its end."""
        self.store.write(self._let_all_go_on)
        for _ in range(20 + 8 * len(self.ids)):
            self.keeper.step()
            self.now += 61
            for one in self.world.running():
                one.started_at = one.started_at or self.now
                self.world.end(one, Ending.CANCELLED if one.asked else Ending.SUCCEEDED, self.now)
            self.the_record_is_whole()
            if not [job for job in self.watcher.jobs.values() if not self._over(job)]:
                return
        left = [(job.id, job.state, job.reason) for job in self.watcher.jobs.values() if not self._over(job)]
        raise AssertionError(f"stuck: {left}")

    def _let_all_go_on(self, connection: Any) -> None:
        for key in self.ids:
            for what in (life.resume, life.release):
                with suppress(ConflictError):
                    what(connection, key, at=self.now, who="ada")

    def _over(self, job: JobRow) -> bool:
        """It has ended, is put aside for good, or comes after one that will never succeed."""
        before = [self.watcher.jobs[key] for key in job.after]
        if job.state is State.QUEUED:
            return any(self._over(one) and one.state is not State.SUCCEEDED for one in before)
        return job.state.final or job.state in {State.PAUSED, State.HELD}


def newest_fence(connection: Any, *, uid: str) -> int | None:
    """Of the job that the attempt belongs to."""
    attempt = get_attempt(connection, uid)
    return get_job(connection, attempt.job_id).fence if attempt else None


@pytest.mark.slow
@pytest.mark.timeout(600)  # 20 s of two cores that have nothing else to do
def test_no_device_is_given_twice_and_no_job_is_lost_in_ten_thousand_steps() -> None:
    """The same ones each time; what a process finds it prints, with the steps that led there."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(live, range(2)))


def live(number: int) -> None:
    """Half of them. Run by hand with another number it tries others."""
    half = seed(number)(type("Half", (Lives,), {}))
    run_state_machine_as_test(
        half,
        settings=settings(
            max_examples=25,
            stateful_step_count=200,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
