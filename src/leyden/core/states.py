"""What can a job be doing, and what may it do next?"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a job. `held` and `paused` stand beside the line queued → … → a final state."""

    QUEUED = "queued"
    ADMITTED = "admitted"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    HELD = "held"
    PAUSED = "paused"

    @property
    def final(self) -> bool:
        """Whether the job has ended for good."""
        return self in FINAL

    @property
    def active(self) -> bool:
        """Whether an attempt holds devices."""
        return self in ACTIVE


class Intent(StrEnum):
    """What becomes of a stopping job."""

    NONE = ""
    CANCEL = "cancel"
    PREEMPT = "preempt"  # back into the queue, for a job of higher priority
    PAUSE = "pause"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.TIMED_OUT})
ACTIVE = frozenset({State.ADMITTED, State.STARTING, State.RUNNING, State.STOPPING})

# A requeue (stopping or running → queued) opens attempt n+1; a trial pauses itself at its rung (running → paused);
# final states have no way out.
_NEXT: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.ADMITTED, State.HELD, State.PAUSED, State.CANCELLED, State.FAILED}),
    State.ADMITTED: frozenset({State.STARTING, State.QUEUED, State.STOPPING, State.CANCELLED, State.FAILED}),
    State.STARTING: frozenset({State.RUNNING, State.STOPPING, State.QUEUED, State.PAUSED, *FINAL}),
    State.RUNNING: frozenset({State.STOPPING, State.QUEUED, State.PAUSED, *FINAL}),
    State.STOPPING: frozenset({State.QUEUED, State.PAUSED, *FINAL}),
    State.HELD: frozenset({State.QUEUED, State.CANCELLED}),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELLED}),
    **{state: frozenset[State]() for state in FINAL},
}


def may_follow(before: State, after: State) -> bool:
    """Whether a job may go from `before` to `after`.

    >>> may_follow(State.QUEUED, State.ADMITTED), may_follow(State.SUCCEEDED, State.RUNNING)
    (True, False)
    """
    return after in _NEXT[before]


# Exit codes of `leyden run` and `leyden wait` where the job has none of its own.
EXIT_CANCELLED = 103
EXIT_INFRA = 104
EXIT_LIMIT = 105
EXIT_REQUEUE = 75
EXIT_PAUSE = 76  # of a trial: it stands at its rung, its checkpoint saved
