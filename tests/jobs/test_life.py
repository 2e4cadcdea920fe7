"""Is every step of a job's life on record once, with its devices?"""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from leyden.core.errors import DeniedError, NotFoundError
from leyden.core.states import State
from leyden.engines.base import Ending, Outcome
from leyden.jobs import life
from leyden.jobs.rows import AttemptRow, JobRow, find_job, get_job, held_devices, unclean_attempts
from leyden.jobs.store import Store
from leyden.jobs.tables import leases
from tests.jobs.samples import a_job

DONE = Outcome(kind=Ending.SUCCEEDED, message="", exit_code=0, ended_at=9.0)


def admitted(store: Store, *devices: str) -> tuple[JobRow, AttemptRow]:
    job = a_job()
    store.write(lambda connection: life.submit(connection, job))
    attempt = store.write(lambda connection: life.admit(connection, job.id, devices, node="n", at=2.0))
    return job, attempt


def state(store: Store, job: JobRow) -> State:
    return store.read(lambda connection: get_job(connection, job.id)).state


def test_the_database_itself_refuses_to_lease_a_device_twice(store: Store) -> None:
    job, attempt = admitted(store, "cpu:0")
    row = {"node": "n", "device": "cpu:0", "job_id": job.id, "attempt_uid": attempt.uid, "acquired_at": 3.0}
    with pytest.raises(IntegrityError):
        store.write(lambda connection: connection.execute(insert(leases).values(**row)))
    with pytest.raises(IntegrityError):
        admitted(store, "cpu:0")
    store.write(lambda connection: life.ended(connection, attempt, DONE, at=9.0))
    admitted(store, "cpu:0")


def test_a_refused_admission_leaves_the_job_queued(store: Store) -> None:
    admitted(store, "cpu:0")
    job = a_job()
    store.write(lambda connection: life.submit(connection, job))
    with pytest.raises(IntegrityError):
        store.write(lambda connection: life.admit(connection, job.id, ["cpu:1", "cpu:0"], node="n", at=2.0))
    assert state(store, job) is State.QUEUED
    assert len(store.read(held_devices)) == 1


def test_a_key_seen_before_names_the_same_job(store: Store) -> None:
    first = a_job(key="the-same-key")
    assert store.write(lambda connection: life.submit(connection, first)) == (first, True)
    again, new = store.write(lambda connection: life.submit(connection, a_job(key="the-same-key")))
    assert (again.id, new) == (first.id, False)


def test_a_trial_at_its_rung_says_so_until_it_goes_on(store: Store) -> None:
    job, attempt = admitted(store, "cpu:0")
    paused = Outcome(kind=Ending.PAUSED, message="paused at its rung (exit code 76)", started_at=3.0, ended_at=9.0)
    store.write(lambda connection: life.ended(connection, attempt, paused, at=9.0))
    row = store.read(lambda connection: get_job(connection, job.id))
    assert (row.state, row.reason, row.reason_code) == (State.PAUSED, "paused at its rung", "rung")
    assert not store.read(held_devices)
    store.write(lambda connection: life.resume(connection, job.id, at=10.0, who="sweep"))
    row = store.read(lambda connection: get_job(connection, job.id))
    assert (row.state, row.reason_code) == (State.QUEUED, "")


def test_an_outcome_is_written_once(store: Store) -> None:
    job, attempt = admitted(store, "cpu:0")
    assert store.write(lambda connection: life.ended(connection, attempt, DONE, at=9.0))
    late = Outcome(kind=Ending.FAILED, message="late", exit_code=1, ended_at=10.0)
    assert not store.write(lambda connection: life.ended(connection, attempt, late, at=10.0))
    assert state(store, job) is State.SUCCEEDED


def test_an_attempt_that_fails_as_infra_while_being_cancelled_is_cancelled(store: Store) -> None:
    job, attempt = admitted(store, "cpu:0")
    store.write(lambda connection: life.cancel(connection, job.id, at=3.0, who="ada"))
    assert state(store, job) is State.STOPPING
    lost = Outcome(kind=Ending.INFRA, message="the worker process died", ended_at=9.0)
    store.write(lambda connection: life.ended(connection, attempt, lost, at=9.0))
    assert state(store, job) is State.CANCELLED


def test_cancelling_what_has_ended_changes_nothing(store: Store) -> None:
    job, attempt = admitted(store, "cpu:0")
    store.write(lambda connection: life.ended(connection, attempt, DONE, at=9.0))
    assert store.write(lambda connection: life.cancel(connection, job.id, at=3.0, who="ada")).state is State.SUCCEEDED


def test_devices_stay_taken_while_a_job_is_being_stopped(store: Store) -> None:
    job, _ = admitted(store, "cpu:0", "cpu:1")
    store.write(lambda connection: life.cancel(connection, job.id, at=3.0, who="ada"))
    assert store.read(held_devices) == {"cpu:0": job.id, "cpu:1": job.id}


def test_only_the_newest_fence_may_speak(store: Store) -> None:
    _, attempt = admitted(store, "cpu:0")
    assert store.read(lambda connection: life.check_fence(connection, attempt.uid, attempt.fence)) == attempt
    for uid, fence in [(attempt.uid, attempt.fence - 1), (attempt.uid, attempt.fence + 1), ("none", 1)]:
        with pytest.raises(DeniedError):
            store.read(lambda connection, uid=uid, fence=fence: life.check_fence(connection, uid, fence))  # type: ignore[misc]


def test_attempts_stay_listed_until_cleaned(store: Store) -> None:
    _, attempt = admitted(store, "cpu:0")
    store.write(lambda connection: life.ended(connection, attempt, DONE, at=9.0))
    assert [one.uid for one, _ in store.read(unclean_attempts)] == [attempt.uid]
    store.write(lambda connection: life.cleaned(connection, [attempt], at=10.0))
    assert store.read(unclean_attempts) == []


def test_jobs_are_found_by_ending_and_as_the_last(store: Store) -> None:
    with pytest.raises(NotFoundError, match="there is no job yet"):
        store.read(lambda connection: find_job(connection, "last"))
    rows = [a_job() for _ in range(3)]
    for row in rows:
        store.write(lambda connection, row=row: life.submit(connection, row))  # type: ignore[misc]
    assert store.read(lambda connection: find_job(connection, "last")).id == rows[2].id
    assert store.read(lambda connection: find_job(connection, rows[0].id[-4:].upper())).id == rows[0].id
    for wrong in ("%", "", "zzzz"):
        with pytest.raises(NotFoundError):
            store.read(lambda connection, wrong=wrong: find_job(connection, wrong))  # type: ignore[misc]


def test_a_name_goes_before_a_chance_likeness_of_an_id(store: Store) -> None:
    digits = a_job()
    vit = a_job(name=digits.id[-3:])
    like = a_job(name=digits.id[-4:])
    for row in (digits, vit, like):
        store.write(lambda connection, row=row: life.submit(connection, row))  # type: ignore[misc]
    assert store.read(lambda connection: find_job(connection, vit.name)).id == vit.id
    with pytest.raises(NotFoundError, match=f"{like.id} has that name, and {digits.id} an id like it"):
        store.read(lambda connection: find_job(connection, like.name))
    assert store.read(lambda connection: find_job(connection, digits.id)).id == digits.id
