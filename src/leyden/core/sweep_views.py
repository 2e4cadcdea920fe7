"""What does the HTTP API say about sweeps? Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class RungView:
    """One rung of one bracket: a place where trials pause."""

    bracket: int
    resource: int  # epochs or steps
    reached: int  # how many trials have been measured there
    gone_on: int  # how many of them were let train further
    best: float | None  # as the metric says it, not negated


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """One trial: a job whose arguments the sweep chose."""

    number: int
    job_id: str  # "" where no job has been made yet
    state: str  # waiting | running | paused | done | failed | dropped (not promoted, replaced or cancelled)
    note: str  # in words: why it waits, where it paused, how it failed
    params: dict[str, Value]
    value: float | None  # of the first metric: at its end, else at its last rung; None where nobody knows yet
    values: list[float | None]  # of every metric, at its end
    curve: list[list[float]]  # [resource, value] at each rung it reached
    bracket: int
    resource: int  # how far it has come, as of its last rung
    parent: int | None  # trial from whose checkpoint it began (PBT)
    attempts: int
    device_s: float  # seconds times the GPUs held (a shared one by its part); times the CPUs where there were none
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """One sweep as `leyden sweep list` shows it."""

    id: str
    name: str
    user: str
    state: str  # running | stopping | stopped | finished | failed
    reason: str  # why it stands still, or how it ended
    strategy: str
    metrics: list[str]  # e.g. ["val_loss:min"]
    resource: str  # epoch | step
    asked: int | None  # trials at most
    counts: dict[str, int]  # trials by state
    parallel: int | None
    per_gpu: int
    best: TrialView | None
    device_s: float
    cost: float | None  # None where the server knows no prices
    created_at: float
    ended_at: float | None


@dataclass(frozen=True, kw_only=True)
class SweepDetail:
    """One sweep as `leyden sweep show` and its page show it."""

    sweep: SweepView
    command: list[str]  # the script with its arguments as given, expressions and all
    space: dict[str, str]  # parameter → its expression
    rungs: list[RungView]
    front: list[int]  # with several metrics: trials that no other one beats in all of them
    best_command: list[str]  # ready to be typed; empty where there is no best
    trials: list[TrialView]  # by number


@dataclass(frozen=True, kw_only=True)
class ImportanceView:
    """How much of the metric's variation each parameter explains, 0 to 1 (fANOVA)."""

    trials: int  # that it was computed from
    shares: dict[str, float]
    note: str = ""  # why there are none


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial as `leyden plan sweep` foresees it."""

    number: int
    args: list[str]
    params: dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep would do. Times are those of like jobs before, or of the last sweep of this script."""

    strategy: str
    trials: int | None  # None: until its time, cost or target is reached
    size: int | None  # points of the space; None: no end of them
    at_once: int  # trials that the machine runs at a time
    takes: str  # what each trial takes, in words
    rungs: list[list[int]]  # of each bracket
    resource: str
    resource_total: int | None  # epochs or steps trained in all, as far as that is known beforehand
    resource_full: int | None  # the same if every trial trained to its end
    trial_s: list[float]  # [low, high] of one trial to its end; empty where nothing is known
    total_s: list[float]  # [low, high] of the sweep
    cost: list[float]  # [low, high]; empty where no prices or times are known
    some: list[PlannedTrial]  # the first, as far as they are known before others have ended
    note: str
