"""What becomes of a job whose attempt has ended: is it over, does it stand aside, or is it tried again?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from leyden.core.job import Job
from leyden.core.reasons import PLACING, ReasonCode
from leyden.core.states import Intent, State
from leyden.engines.base import Ending, Outcome
from leyden.jobs.rows import JobRow

LONGEST_PAUSE_S: Final = 60.0
STILLBORN: Final = 3  # times that the machine may fail before any rank runs: what never began will not begin


@dataclass(frozen=True, kw_only=True)
class After:
    """The next state, what the event and the job say, and what else changes."""

    state: State
    why: str
    reason: str
    columns: dict[str, object] = field(default_factory=dict)


def what_next(job: JobRow, outcome: Outcome, *, at: float) -> After:
    """By how the attempt ended, what was intended with the job, and its retry policy."""
    if outcome.kind in {Ending.CANCELLED, Ending.REQUEUE, Ending.PAUSED}:
        return _aside(job, outcome)
    if outcome.kind in {Ending.FAILED, Ending.INFRA}:
        again = None if job.state is State.STOPPING else _again(job, outcome, at=at)
        return again or _over(State.FAILED, outcome)
    return _over(State(outcome.kind), outcome)


def _aside(job: JobRow, outcome: Outcome) -> After:
    """It was stopped, asked to be started again, or has come to its rung."""
    if outcome.kind is Ending.PAUSED and job.intent in {Intent.NONE, Intent.PREEMPT}:
        columns: dict[str, object] = {"reason_code": ReasonCode.RUNG}
        return After(state=State.PAUSED, why=outcome.message, reason="paused at its rung", columns=columns)
    if job.intent is Intent.PREEMPT:
        return After(state=State.QUEUED, why=job.reason, reason=PLACING)
    if job.intent is Intent.PAUSE:
        return After(state=State.PAUSED, why="paused", reason="paused")
    if outcome.kind is Ending.REQUEUE and job.intent is not Intent.CANCEL:
        return After(state=State.QUEUED, why=outcome.message, reason=PLACING)
    if outcome.kind is Ending.PAUSED:
        return After(state=State.CANCELLED, why="cancelled", reason="cancelled")
    return _over(State.CANCELLED, outcome)


def _over(state: State, outcome: Outcome) -> After:
    return After(state=state, why=outcome.message, reason=outcome.message)


def _again(job: JobRow, outcome: Outcome, *, at: float) -> After | None:
    """The next try, after a pause that doubles each time; None where the policy allows no more."""
    retry = Job.model_validate_json(job.spec).retry
    by_user = outcome.kind is Ending.FAILED
    failures = 1 + (job.user_failures if by_user else job.infra_failures)
    allowed = retry.user if by_user else retry.infra
    if not by_user and outcome.started_at is None:
        allowed = min(allowed, STILLBORN)
    if failures > allowed:
        return None
    pause_s = min(LONGEST_PAUSE_S, 2.0 ** (failures - 1))
    why = f"try {failures} of {allowed} after: {outcome.message}"
    column = "user_failures" if by_user else "infra_failures"
    columns: dict[str, object] = {column: failures, "not_before": at + pause_s}
    return After(state=State.QUEUED, why=why, reason=f"waits {pause_s:.0f} s before it is tried again", columns=columns)
