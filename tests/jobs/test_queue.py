"""Does the scheduler see what is on record, and no more of it than has changed?"""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from leyden.core.errors import SpecError
from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.engines.base import Ending, Outcome
from leyden.jobs import life
from leyden.jobs.history import load_history
from leyden.jobs.placing import HISTORY_S, LOOK_AGAIN_S, Placing
from leyden.jobs.queue import last_change, load_snapshot
from leyden.jobs.quotas import Use, all_quotas, delete_quota, set_quota, usage_of
from leyden.jobs.rows import JobRow, get_job
from leyden.jobs.snapshot import Interval, Quota, Snapshot
from leyden.jobs.store import Store
from leyden.jobs.tables import jobs
from leyden.jobs.usage import HALF_LIFE_S
from tests.jobs.lines import PLAIN, a_machine
from tests.jobs.samples import a_job

FOUR = a_machine(4, 8)


def submitted(store: Store, **changes: object) -> JobRow:
    job = a_job(**changes)
    return store.write(lambda connection: life.submit(connection, job))[0]


def admitted(store: Store, *devices: str, at: float, **changes: object) -> JobRow:
    job = submitted(store, **changes)
    store.write(lambda connection: life.admit(connection, job.id, devices, node="n", at=at))
    return job


def has_run(store: Store, *, at: float, took_s: float, kind: Ending = Ending.SUCCEEDED, **changes: object) -> JobRow:
    job = submitted(store, **changes)
    end = at + took_s
    outcome = Outcome(kind=kind, message="", started_at=at, ended_at=end)
    devices = [*(f"gpu:{7 - number}" for number in range(job.gpus)), "cpu:7"]
    attempt = store.write(lambda connection: life.admit(connection, job.id, devices, node="n", at=at))
    store.write(lambda connection: life.ended(connection, attempt, outcome, at=end))
    return job


def seen(store: Store, now: float = 100.0) -> Snapshot:
    return store.read(lambda connection: load_snapshot(connection, FOUR, now=now))


def test_what_waits_and_what_runs_as_it_is_on_record(store: Store) -> None:
    runs = admitted(store, "gpu:1", "cpu:3", at=7.0, gpus=1, preempt_grace_s=20.0, time_s=60.0, priority=70)
    waits = submitted(store, user="bob", gpus=2, gpu_model="A100", time_s=5.0, not_before=9.0, reason="waits")
    submitted(store, state=State.HELD)
    snapshot = seen(store)
    [running], [waiting] = snapshot.running, snapshot.waiting
    assert (running.who.job_id, running.devices, running.since) == (runs.id, ("gpu:1", "cpu:3"), 7.0)
    assert (running.priority, running.time_s, running.grace_s, running.stops) == (70, 60.0, 20.0, False)
    assert (waiting.who.job_id, waiting.who.user, waiting.time_s) == (waits.id, "bob", 5.0)
    assert (waiting.size.gpus, waiting.size.gpu_model, waiting.not_before, waiting.says) == (2, "A100", 9.0, "waits")


@pytest.mark.parametrize("preempts", [True, False])
def test_who_makes_way_is_told_from_who_is_cancelled(store: Store, preempts: bool) -> None:
    job = admitted(store, "cpu:0", at=1.0)
    if preempts:
        store.write(lambda connection: life.preempt(connection, job.id, at=2.0, why="makes way"))
    else:
        store.write(lambda connection: life.cancel(connection, job.id, at=2.0, who="ada"))
    [one] = seen(store).running
    assert (one.stops, one.makes_way) == (True, preempts)


def test_a_job_comes_after_those_it_names(store: Store) -> None:
    first = submitted(store)
    second = submitted(store, after=(first.id,))
    blocked = {one.who.job_id: one.blocked for one in seen(store).waiting}
    assert blocked[first.id] is None
    assert (reason := blocked[second.id])
    assert (reason.code, reason.text) == ("after", f"comes after job {first.id[-4:]}, which has not succeeded yet")
    store.write(lambda connection: life.cancel(connection, first.id, at=2.0, who="ada"))
    [one] = seen(store).waiting
    assert one.blocked
    assert one.blocked.code is ReasonCode.IMPOSSIBLE
    done = has_run(store, at=1.0, took_s=1.0)
    third = submitted(store, after=(done.id,))
    assert {one.who.job_id: one.blocked for one in seen(store).waiting}[third.id] is None


def test_ten_thousands_may_each_come_after_another(store: Store) -> None:
    first = [a_job(state=State.SUCCEEDED) for _ in range(2)] + [a_job(state=State.FAILED)]
    ids = [job.id for job in first] + [f"{number:010}" for number in range(33_000)]
    rows = [job.columns() for job in first] + [a_job(after=tuple(ids)).columns()]
    store.write(lambda connection: connection.execute(insert(jobs), rows))
    [one] = seen(store).waiting
    assert one.blocked
    assert one.blocked.text.startswith(f"comes after job {first[2].id[-4:]}, which is failed")


def test_history_is_of_the_same_name_else_user_else_all_and_of_few_jobs_none(store: Store) -> None:
    for took_s in (10.0, 20.0, 30.0, 40.0, 50.0):
        has_run(store, at=1.0, took_s=took_s, name="digits", user="ada")
    for took_s in (100.0, 200.0, 300.0):
        has_run(store, at=1.0, took_s=took_s, name="words", user="ada")
    history = store.read(load_history)
    assert history.lasts("ada", "digits") == Interval(low=20.0, high=40.0)
    assert history.lasts("ada", "words") == Interval(low=27.5, high=125.0)  # all of ada's
    assert history.lasts("bob", "digits") == history.of_all == Interval(low=27.5, high=125.0)
    assert seen(store).waiting == []


def test_quotas_on_record(store: Store) -> None:
    store.write(lambda connection: set_quota(connection, "ada", Quota(gpus=2)))
    store.write(lambda connection: set_quota(connection, "*", Quota(cpus=4)))
    store.write(lambda connection: set_quota(connection, "ada", Quota(gpus=3)))
    assert store.read(all_quotas) == {"ada": Quota(gpus=3), "*": Quota(cpus=4)} == seen(store).quotas
    assert store.write(lambda connection: delete_quota(connection, "ada"))
    assert not store.write(lambda connection: delete_quota(connection, "ada"))
    with pytest.raises(SpecError, match=r"a quota of CPUs; found -1\. Give 0 or more"):
        store.write(lambda connection: set_quota(connection, "ada", Quota(cpus=-1)))
    assert store.read(all_quotas) == {"*": Quota(cpus=4)}


def test_use_is_what_is_held_and_what_was_used_of_late(store: Store) -> None:
    has_run(store, at=0.0, took_s=100.0, user="bob", gpus=2, cpus=2)
    admitted(store, "gpu:0", "cpu:0", "cpu:1", at=HALF_LIFE_S, user="ada", gpus=1, cpus=2)
    uses = store.read(lambda connection: usage_of(connection, HALF_LIFE_S + 100.0))
    assert uses == {
        "ada": Use(gpus=1, cpus=2, used_s=100.0, share=0.5),
        "bob": Use(used_s=100.0, share=0.5),
    }


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_pass_is_made_when_something_has_changed_and_once_in_a_while(store: Store) -> None:
    clock = Clock()
    placing = Placing(store=store, machine=PLAIN, clock=clock)

    def passes() -> bool:
        before = placing.last
        placing.step()
        return placing.last is not before

    submitted(store, cpus=2)
    waits = submitted(store, cpus=1)
    assert passes()
    assert passes()  # what it did itself may let others start
    assert not passes()
    reason = store.read(lambda connection: get_job(connection, waits.id))
    assert reason.reason_code == ReasonCode.DEVICES
    assert reason.reason.startswith("waits for 1 CPU of cpu:0–1, held by job ")
    later = submitted(store, cpus=1, not_before=110.0)
    assert passes()
    assert not passes()
    clock.now = 110.0
    assert passes()
    assert store.read(lambda connection: get_job(connection, later.id)).reason_code == ReasonCode.BEHIND
    clock.now += LOOK_AGAIN_S
    assert passes()
    clock.now -= 1000.0  # somebody set the clock back
    assert passes()
    store.write(lambda connection: set_quota(connection, "*", Quota(cpus=1)))
    assert passes()


def test_after_a_pass_over_many_comes_as_long_a_rest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leyden.jobs.placing.MANY", 0)
    times = iter([0.0, 10.0, 10.5, 10.75, 11.0, 11.0, 11.25, 11.5])  # at the start; each pass reads it twice
    placing = Placing(store=store, machine=PLAIN, clock=Clock(), timer=lambda: next(times))
    for decides in (True, False, True, True):
        submitted(store)
        before = placing.last
        placing.step()
        assert (placing.last is not before) == decides


def test_decisions_get_on_record_the_preempted_too(store: Store) -> None:
    clock = Clock()
    placing = Placing(store=store, machine=PLAIN, clock=clock)
    low = submitted(store, cpus=2, priority=10, preempt_grace_s=20.0)
    placing.step()
    assert store.read(lambda connection: get_job(connection, low.id)).state is State.ADMITTED
    high = submitted(store, cpus=1, priority=90)
    clock.now = 200.0
    placing.step()
    row = store.read(lambda connection: get_job(connection, low.id))
    assert (row.state, row.intent, row.reason) == ("stopping", "preempt", f"makes way for job {high.id[-4:]}")
    row = store.read(lambda connection: get_job(connection, high.id))
    assert (row.state, row.reason_code) == ("queued", ReasonCode.PREEMPTING)


def test_what_jobs_of_the_kind_took_before_says_when_others_start(store: Store) -> None:
    clock = Clock()
    placing = Placing(store=store, machine=PLAIN, clock=clock)
    for _ in range(4):
        has_run(store, at=10.0, took_s=50.0)
    submitted(store, cpus=2)
    waits = submitted(store, cpus=2)
    placing.step()
    assert placing.last
    assert placing.last[1].expected == {waits.id: Interval(low=150.0, high=150.0)}
    for _ in range(4):
        has_run(store, at=10.0, took_s=90.0)
    clock.now += HISTORY_S
    placing.step()
    assert placing.last[1].expected == {waits.id: Interval(low=150.0, high=190.0)}


def test_every_change_of_a_job_is_seen(store: Store) -> None:
    job = submitted(store)
    known = [store.read(last_change)]
    for change in (
        lambda connection: life.hold(connection, job.id, at=1.0, who="ada"),
        lambda connection: life.release(connection, job.id, at=1.0, who="ada"),
        lambda connection: life.pause(connection, job.id, at=1.0, who="ada"),
        lambda connection: life.resume(connection, job.id, at=1.0, who="ada"),
        lambda connection: life.admit(connection, job.id, ["cpu:0"], node="n", at=1.0),
        lambda connection: life.pause(connection, job.id, at=1.0, who="ada"),
        lambda connection: life.cancel(connection, job.id, at=1.0, who="ada"),
        lambda connection: set_quota(connection, "ada", Quota(gpus=1)),
    ):
        store.write(change)
        known.append(store.read(last_change))
    assert len(set(known)) == len(known)
