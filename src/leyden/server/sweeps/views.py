"""What is shown of a sweep and its trials?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from leyden.core.devices import count_of
from leyden.core.job import Job
from leyden.core.states import State
from leyden.core.sweep import Metric, Sweep
from leyden.core.sweep_views import RungView, SweepDetail, SweepView, TrialView
from leyden.jobs.rows import AttemptRow
from leyden.server.prices import Prices
from leyden.server.sweeps.rows import ReportRow, SweepRow, TrialRow, attempts_of, reports_of, trials_of
from leyden.server.sweeps.study import TrialJob, jobs_of
from leyden.sweeps.courses import make_course
from leyden.sweeps.pareto import front
from leyden.sweeps.planning import plan
from leyden.sweeps.state import Standing

_PAUSED = frozenset({State.PAUSED, State.HELD})


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """All that is on record of one sweep."""

    row: SweepRow
    trials: Sequence[TrialRow]
    reports: Mapping[int, Sequence[ReportRow]]
    jobs: Mapping[str, TrialJob]
    attempts: Mapping[str, Sequence[AttemptRow]]


def load(connection: Connection, row: SweepRow) -> Loaded:
    """One snapshot of it."""
    trials = trials_of(connection, row.id)
    ids = [one.job_id for one in trials]
    reports: dict[int, list[ReportRow]] = {}
    for report in reports_of(connection, row.id):
        reports.setdefault(report.number, []).append(report)
    attempts: dict[str, list[AttemptRow]] = {}
    for attempt in attempts_of(connection, ids):
        attempts.setdefault(attempt.job_id, []).append(attempt)
    jobs = {one.id: one for one in jobs_of(connection, ids)}
    return Loaded(row=row, trials=trials, reports=reports, jobs=jobs, attempts=attempts)


def sweep_view(found: Loaded, prices: Prices, now: float) -> SweepView:
    """One line of `leyden sweep list`."""
    return _view(found, _trials(found, now), prices, now)


def sweep_detail(found: Loaded, prices: Prices, now: float) -> SweepDetail:
    """All of it."""
    spec, job = Sweep.model_validate_json(found.row.spec), Job.model_validate_json(found.row.job)
    trials = _trials(found, now)
    view = _view(found, trials, prices, now)
    space, _ = plan(job, spec)
    best = [] if view.best is None else [*_program(job), *space.args(view.best.params)]
    return SweepDetail(
        sweep=view,
        command=[
            *_program(job),
            *job.args,
            *(word for name, text in spec.space.items() for word in (f"--{name}", text)),
        ],
        space=dict(space.texts),
        rungs=_rungs(found, spec),
        front=_front(spec.metric, trials),
        best_command=best,
        trials=trials,
    )


def _view(found: Loaded, trials: Sequence[TrialView], prices: Prices, now: float) -> SweepView:
    row, spec = found.row, Sweep.model_validate_json(found.row.spec)
    counts = dict.fromkeys(("waiting", "running", "paused", "done", "failed", "dropped"), 0)
    for one in trials:
        counts[one.state] += 1
    every = [attempt for some in found.attempts.values() for attempt in some]
    return SweepView(
        id=row.id,
        name=row.name,
        user=row.user,
        state=row.state,
        reason=row.reason,
        strategy=spec.strategy,
        metrics=[str(one) for one in spec.metric],
        resource=spec.resource,
        asked=plan(Job.model_validate_json(row.job), spec)[1],
        counts=counts,
        parallel=spec.parallel,
        per_gpu=spec.per_gpu,
        best=_best(spec.metric, trials),
        device_s=sum(one.device_s for one in trials),
        cost=prices.cost(every, now) if prices.known else None,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _trials(found: Loaded, now: float) -> list[TrialView]:
    return [_trial(found, one, now) for one in found.trials]


def _trial(found: Loaded, trial: TrialRow, now: float) -> TrialView:
    job = found.jobs.get(trial.job_id)
    attempts = found.attempts.get(trial.job_id, ())
    curve = [[one.resource, one.value] for one in found.reports.get(trial.number, ()) if one.value is not None]
    value = (
        trial.finals[0] if trial.finals else curve[-1][1] if curve and trial.standing is not Standing.FAILED else None
    )
    measured = [one.resource for one in found.reports.get(trial.number, ())]
    return TrialView(
        number=trial.number,
        job_id=trial.job_id,
        state=_state(trial, job),
        note=trial.note or ("" if job is None else job.reason),
        params=dict(trial.params),
        value=value,
        values=list(trial.finals),
        curve=curve,
        bracket=trial.bracket,
        resource=int(measured[-1]) if measured else 0,
        parent=trial.parent,
        attempts=len(attempts),
        device_s=sum(_device_s(one, now) for one in attempts),
        started_at=min((one.started_at for one in attempts if one.started_at is not None), default=None),
        ended_at=None if job is None else job.ended_at,
    )


def _device_s(attempt: AttemptRow, now: float) -> float:
    """Of GPUs, a part counted as such; of CPUs where it has no GPU."""
    held_s = max(0.0, (now if attempt.ended_at is None else attempt.ended_at) - attempt.created_at)
    gpus, cpus = count_of(attempt.devices)
    return (gpus or cpus) * held_s


def _state(trial: TrialRow, job: TrialJob | None) -> str:
    if trial.standing is not Standing.GOING:
        return str(trial.standing)
    if job is None or job.state is State.QUEUED:
        return "waiting"
    return "paused" if job.state in _PAUSED else "running"


def _best(metrics: Sequence[Metric], trials: Sequence[TrialView]) -> TrialView | None:
    """By the first metric; trials that have ended count as those at their last rung do."""
    if not metrics:
        return None
    judged = [one for one in trials if one.value is not None and one.state != "failed"]
    return min(judged, key=lambda one: (metrics[0].sign(one.value or 0.0), one.number), default=None)


def _front(metrics: Sequence[Metric], trials: Sequence[TrialView]) -> list[int]:
    if len(metrics) < 2:
        return []
    done = [one for one in trials if one.state == "done" and None not in one.values]
    finals = {
        one.number: tuple(metric.sign(value or 0.0) for metric, value in zip(metrics, one.values, strict=True))
        for one in done
    }
    return front(finals)


def _rungs(found: Loaded, spec: Sweep) -> list[RungView]:
    """Of each bracket that has trials."""
    if not spec.strategy.has_rungs:
        return []
    course, sign = make_course(spec), spec.metric[0].sign
    rungs = []
    for bracket in sorted({one.bracket for one in found.trials}):
        members = [one for one in found.trials if one.bracket == bracket]
        for rung, level in enumerate(course.levels(bracket)):
            there = [one for one in members if len(found.reports.get(one.number, ())) > rung]
            scores = [found.reports[one.number][rung].value for one in there]
            known = [value for value in scores if value is not None]
            view = RungView(
                bracket=bracket,
                resource=level,
                reached=len(there),
                gone_on=sum(one.allowed > rung for one in there),
                best=min(known, key=sign, default=None),
            )
            rungs.append(view)
    return rungs


def _program(job: Job) -> list[str]:
    """As it is typed."""
    return ["leyden", "run", job.script] if job.script else ["leyden", "run", "--", *job.command]
