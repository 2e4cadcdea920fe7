"""Does a pass bring record and reality together, whatever crash came before it?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from leyden.core.states import State
from leyden.engines.base import Launch, Machine
from leyden.engines.local import LocalEngine
from leyden.jobs import life
from leyden.jobs.keeper import Keeper
from leyden.jobs.rows import AttemptRow, JobRow, get_job, held_devices, unclean_attempts
from leyden.jobs.store import Store
from tests.conformance.engine import WAITS, a_launch
from tests.conformance.until import until
from tests.jobs.samples import a_job

MACHINE = Machine(node="n", cpus=2, memory_bytes=1)


def prepare_in(runs: Path) -> Callable[[JobRow, AttemptRow], Launch]:
    def prepare(job: JobRow, attempt: AttemptRow) -> Launch:
        folder = runs / job.id
        folder.mkdir(exist_ok=True)
        return a_launch(folder, WAITS, engine_ref=attempt.engine_ref, number=attempt.number, uid=attempt.uid)

    return prepare


def keeper(store: Store, runs: Path) -> Keeper:
    """With an engine that remembers nothing: what a restarted server has."""
    return Keeper(
        store=store,
        engine=LocalEngine(),
        machine=MACHINE,
        runs=runs,
        prepare=prepare_in(runs),
        clock=time.time,
        stop_grace_s=0.2,
    )


def submitted(store: Store, **changes: object) -> JobRow:
    job = a_job(**changes)
    store.write(lambda connection: life.submit(connection, job))
    return job


def now(store: Store, job: JobRow) -> JobRow:
    return store.read(lambda connection: get_job(connection, job.id))


def step_until(one: Keeper, store: Store, job: JobRow, state: State) -> JobRow:
    def reached() -> JobRow | None:
        one.step()
        row = now(store, job)
        return row if row.state is state else None

    return until(reached)


def clean_up(one: Keeper, store: Store) -> None:
    until(lambda: one.step() or not store.read(unclean_attempts))


def test_an_intent_on_record_that_never_reached_the_engine_is_launched_once(store: Store, tmp_path: Path) -> None:
    job = submitted(store)
    store.write(lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=2.0))
    first = keeper(store, tmp_path)  # the server died here, another one starts
    step_until(first, store, job, State.RUNNING)
    second = keeper(store, tmp_path)
    second.step()
    (tmp_path / job.id / "go").touch()
    step_until(second, store, job, State.SUCCEEDED)
    assert (tmp_path / job.id / "logs/a1-r0.log").read_text().count("\n") == 1
    clean_up(first, store)


def test_a_launch_that_was_not_noted_is_adopted(store: Store, tmp_path: Path) -> None:
    job = submitted(store)
    attempt = store.write(lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=2.0))
    crashed = keeper(store, tmp_path)
    crashed._engine.launch(crashed._prepare(job, attempt))  # and died before life.launched
    until((tmp_path / job.id / "logs/a1-r0.log").exists)
    fresh = keeper(store, tmp_path)
    step_until(fresh, store, job, State.RUNNING)
    (tmp_path / job.id / "go").touch()
    step_until(fresh, store, job, State.SUCCEEDED)
    assert (tmp_path / job.id / "logs/a1-r0.log").read_text().count("\n") == 1  # it was not started again
    clean_up(crashed, store)


def test_an_intent_cancelled_before_its_launch_never_runs(store: Store, tmp_path: Path) -> None:
    job = submitted(store)
    store.write(lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=2.0))
    store.write(lambda connection: life.cancel(connection, job.id, at=3.0, who="ada"))
    one = keeper(store, tmp_path)
    assert one.step()  # it freed devices
    assert now(store, job).state is State.CANCELLED
    assert store.read(held_devices) == {}
    assert not (tmp_path / job.id / "logs").exists()
    clean_up(one, store)


def test_trouble_with_the_runs_folder_is_over_once_it_is_mended(store: Store, tmp_path: Path) -> None:
    job = submitted(store)
    one = keeper(store, tmp_path)
    (tmp_path / job.id).write_text("in the way of the run's folder")
    one.step()
    until(lambda: one.step() or now(store, job).state is State.ADMITTED)
    (tmp_path / job.id).unlink()
    step_until(one, store, job, State.RUNNING)
    (tmp_path / job.id / "go").touch()
    assert step_until(one, store, job, State.SUCCEEDED).attempt == 1
    clean_up(one, store)


def test_an_attempt_that_cannot_be_prepared_fails_as_infra_and_frees_its_devices(store: Store, tmp_path: Path) -> None:
    job = submitted(store)
    one = keeper(store, tmp_path)
    one._prepare = lambda _job, _attempt: Launch(**json.loads("{}"))  # e.g. a spec of another version
    failed = step_until(one, store, job, State.FAILED)
    assert failed.exit_code is None
    assert failed.reason.startswith("the worker could not be started: ")
    assert store.read(held_devices) == {}
    clean_up(one, store)


def test_a_spoilt_record_of_one_attempt_does_not_stop_the_others(store: Store, tmp_path: Path) -> None:
    spoilt, good = submitted(store), submitted(store)
    one = keeper(store, tmp_path)
    step_until(one, store, spoilt, State.RUNNING)
    step_until(one, store, good, State.RUNNING)
    file = tmp_path / spoilt.id / "attempts/a1/worker.json"
    whole = file.read_text()
    file.write_text("not JSON")
    (tmp_path / good.id / "go").touch()
    step_until(one, store, good, State.SUCCEEDED)
    assert now(store, spoilt).state is State.RUNNING
    file.write_text(whole)
    (tmp_path / spoilt.id / "go").touch()
    step_until(one, store, spoilt, State.SUCCEEDED)
    clean_up(one, store)


def test_two_jobs_share_the_machine_and_the_third_waits_for_its_turn(store: Store, tmp_path: Path) -> None:
    jobs = [submitted(store) for _ in range(3)]
    one = keeper(store, tmp_path)
    step_until(one, store, jobs[1], State.RUNNING)
    step_until(one, store, jobs[0], State.RUNNING)
    waiting = now(store, jobs[2])
    assert waiting.state is State.QUEUED
    assert f"held by job {jobs[0].id[-4:]} 'digits' (ada)" in waiting.reason
    (tmp_path / jobs[0].id / "go").touch()
    step_until(one, store, jobs[2], State.RUNNING)
    for job in jobs[1:]:
        (tmp_path / job.id / "go").touch()
    for job in jobs:
        step_until(one, store, job, State.SUCCEEDED)
    clean_up(one, store)
