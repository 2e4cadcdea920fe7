"""What becomes of a job whose attempt has ended?"""

from __future__ import annotations

import pytest

from leyden.core.job import Job
from leyden.core.policy import Retry
from leyden.core.states import Intent, State
from leyden.engines.base import Ending, Outcome
from leyden.jobs.retry import LONGEST_PAUSE_S, what_next
from leyden.jobs.rows import JobRow
from tests.jobs.samples import a_job


def job(*, infra: int = 100, user: int = 0, **changes: object) -> JobRow:
    spec = Job(command=("true",), retry=Retry(infra=infra, user=user)).model_dump_json()
    return a_job(**{"spec": spec, "state": State.RUNNING, **changes})


def outcome(kind: Ending, *, began: bool = True) -> Outcome:
    return Outcome(kind=kind, message="it said so", ended_at=10.0, started_at=1.0 if began else None)


@pytest.mark.parametrize(
    ("intent", "kind", "state"),
    [
        (Intent.NONE, Ending.SUCCEEDED, State.SUCCEEDED),
        (Intent.NONE, Ending.REQUEUE, State.QUEUED),
        (Intent.NONE, Ending.TIMED_OUT, State.TIMED_OUT),
        (Intent.NONE, Ending.FAILED, State.FAILED),
        (Intent.NONE, Ending.INFRA, State.QUEUED),
        (Intent.CANCEL, Ending.CANCELLED, State.CANCELLED),
        (Intent.CANCEL, Ending.REQUEUE, State.CANCELLED),
        (Intent.CANCEL, Ending.SUCCEEDED, State.SUCCEEDED),
        (Intent.CANCEL, Ending.FAILED, State.FAILED),
        (Intent.PREEMPT, Ending.CANCELLED, State.QUEUED),
        (Intent.PREEMPT, Ending.REQUEUE, State.QUEUED),
        (Intent.PREEMPT, Ending.SUCCEEDED, State.SUCCEEDED),
        (Intent.PAUSE, Ending.CANCELLED, State.PAUSED),
        (Intent.PAUSE, Ending.REQUEUE, State.PAUSED),
        (Intent.NONE, Ending.PAUSED, State.PAUSED),
        (Intent.PREEMPT, Ending.PAUSED, State.PAUSED),
        (Intent.PAUSE, Ending.PAUSED, State.PAUSED),
        (Intent.CANCEL, Ending.PAUSED, State.CANCELLED),
    ],
)
def test_the_next_state(intent: Intent, kind: Ending, state: State) -> None:
    one = job(intent=intent, state=State.STOPPING if intent else State.RUNNING)
    assert what_next(one, outcome(kind), at=10.0).state is state


@pytest.mark.parametrize(
    ("intent", "reason", "columns"),
    [
        (Intent.NONE, "paused at its rung", {"reason_code": "rung"}),
        (Intent.PREEMPT, "paused at its rung", {"reason_code": "rung"}),
        (Intent.PAUSE, "paused", {}),
        (Intent.CANCEL, "cancelled", {}),
    ],
)
def test_who_paused_a_trial_is_said(intent: Intent, reason: str, columns: dict[str, object]) -> None:
    one = job(intent=intent, state=State.STOPPING if intent else State.RUNNING)
    after = what_next(one, outcome(Ending.PAUSED), at=10.0)
    assert (after.reason, after.columns) == (reason, columns)


def test_failures_are_counted_and_pauses_double() -> None:
    one = job(user=3, user_failures=2)
    after = what_next(one, outcome(Ending.FAILED), at=10.0)
    assert (after.state, after.columns) == (State.QUEUED, {"user_failures": 3, "not_before": 14.0})
    assert what_next(job(user=3, user_failures=3), outcome(Ending.FAILED), at=10.0).state is State.FAILED
    late = what_next(job(infra_failures=50), outcome(Ending.INFRA), at=10.0)
    assert late.columns == {"infra_failures": 51, "not_before": 10.0 + LONGEST_PAUSE_S}


def test_what_never_began_is_not_tried_a_hundred_times() -> None:
    assert what_next(job(infra_failures=2), outcome(Ending.INFRA, began=False), at=1.0).state is State.QUEUED
    assert what_next(job(infra_failures=3), outcome(Ending.INFRA, began=False), at=1.0).state is State.FAILED
    assert what_next(job(infra_failures=3), outcome(Ending.INFRA), at=1.0).state is State.QUEUED
