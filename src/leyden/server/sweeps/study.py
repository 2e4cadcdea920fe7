"""What does the server know of one sweep while it goes on, and which trials does that let decisions see?

In memory, as the record tells it: a study that is loaded again after a crash decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from sqlalchemy import Connection, bindparam, select

from leyden.core.job import Job
from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.core.sweep import Sweep
from leyden.jobs.tables import jobs
from leyden.server.sweeps.rows import AT_ONCE, ReportRow, SweepRow, SweepState, TrialRow, reports_of, trials_of
from leyden.server.sweeps.values import score
from leyden.sweeps.courses import make_course
from leyden.sweeps.planning import plan
from leyden.sweeps.state import Standing, Trial
from leyden.sweeps.suggest import Suggester

_JOBS: Final = select(
    jobs.c.id, jobs.c.state, jobs.c.reason, jobs.c.reason_code, jobs.c.attempt, jobs.c.ended_at
).where(jobs.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What counts of a trial's job."""

    id: str
    state: State
    reason: str
    at_rung: bool
    attempt: int
    ended_at: float | None


@final
class Study:
    """One sweep. Not safe for several threads: hold the sweeper's lock."""

    def __init__(
        self, row: SweepRow, trials: Sequence[TrialRow], reports: Sequence[ReportRow], found: Iterable[TrialJob]
    ) -> None:
        self.job = Job.model_validate_json(row.job)
        self.trials: dict[int, TrialRow] = {one.number: one for one in trials}
        self.numbers = {one.job_id: one.number for one in trials}
        self.jobs = {self.numbers[one.id]: one for one in found}
        self.reports: dict[int, list[ReportRow]] = {}
        for one in reports:
            self.reports.setdefault(one.number, []).append(one)
        self._seen: dict[int, Trial] = {}
        self.by_standing: dict[Standing, set[int]] = {one: set() for one in Standing}  # as on record: none is PAUSED
        self.begun = 0  # trials that were started; one that replaces another counts as that one
        for trial in trials:
            self._count(trial)
        self.set_row(row)

    @classmethod
    def load(cls, connection: Connection, row: SweepRow) -> Study:
        """As it stands on record."""
        trials = trials_of(connection, row.id)
        return cls(row, trials, reports_of(connection, row.id), jobs_of(connection, [one.job_id for one in trials]))

    def set_row(self, row: SweepRow) -> None:
        """The sweep itself has changed."""
        self.row, self.spec = row, Sweep.model_validate_json(row.spec)
        self.space, self.asked = plan(self.job, self.spec)
        self.course = make_course(self.spec)
        self.suggester = Suggester(self.space, self.spec, _kind(self.spec), self.asked)
        for number in self.trials:
            self._see(number)

    @property
    def objective(self) -> str:
        """Names of its metrics, with commas."""
        return ",".join(metric.name for metric in self.spec.metric)

    @property
    def settled(self) -> bool:
        """Whether it has finished, and its last job with it."""
        return self.row.state is SweepState.FINISHED and not self.by_standing[Standing.GOING]

    def put(self, trial: TrialRow) -> None:
        """A trial is new, or has changed."""
        self._forget(trial.number)
        self._count(trial)
        self.trials[trial.number] = trial
        self.numbers[trial.job_id] = trial.number
        self._see(trial.number)

    def drop(self, number: int) -> None:
        """The newest trial could not be put on record."""
        self._forget(number)
        trial = self.trials.pop(number)
        del self._seen[number], self.numbers[trial.job_id]

    def report(self, row: ReportRow) -> None:
        """A trial was measured."""
        self.reports.setdefault(row.number, []).append(row)
        self._see(row.number)

    def note(self, job: TrialJob) -> int:
        """Its job has changed; the trial's number."""
        number = self.numbers[job.id]
        self.jobs[number] = job
        self._see(number)
        return number

    def seen(self) -> list[Trial]:
        """What decisions see, by number."""
        return list(self._seen.values())

    def trial(self, number: int) -> Trial:
        """The same of one."""
        return self._seen[number]

    def budget(self, number: int) -> str:
        """What its job is told of how far it may train; "" to its own end."""
        level = self.course.budget_of(self._seen[number])
        return "" if level is None else f"{self.spec.resource}:{level}"

    def measured(self, number: int) -> int:
        """At how many rungs."""
        return len(self.reports.get(number, ()))

    def waits_to_go_on(self, number: int) -> bool:
        """Whether its job is paused though it may train further."""
        trial, job = self.trials[number], self.jobs.get(number)
        paused = job is not None and job.state is State.PAUSED and job.at_rung
        return trial.standing is Standing.GOING and paused and trial.allowed >= self.measured(number)

    def in_flight(self) -> int:
        """How many hold devices, or wait for some."""
        return sum(self._flies(number) for number in self.by_standing[Standing.GOING])

    def best(self) -> tuple[int, float] | None:
        """The trial with the best value of the first metric, and that value; None where there is none yet."""
        sign = self.spec.metric[0].sign if self.spec.metric else None
        values = [(trial.final[0] if trial.final else trial.scores[-1], trial.number) for trial in self.judged()]
        found = min(values, default=None)
        return None if found is None or sign is None or found[0] == math.inf else (found[1], sign(found[0]))

    def judged(self) -> list[Trial]:
        """Those with a value: at their end, or at a rung."""
        return [one for one in self._seen.values() if one.standing is not Standing.FAILED and (one.final or one.scores)]

    def _count(self, trial: TrialRow) -> None:
        self.by_standing[trial.standing].add(trial.number)
        self.begun += trial.parent is None

    def _forget(self, number: int) -> None:
        if before := self.trials.get(number):
            self.by_standing[before.standing].discard(number)
            self.begun -= before.parent is None

    def _flies(self, number: int) -> bool:
        job = self.jobs.get(number)
        return job is None or (job.state is not State.PAUSED and not job.state.final)

    def _see(self, number: int) -> None:
        trial, job = self.trials[number], self.jobs.get(number)
        standing = trial.standing
        if standing is Standing.GOING and job is not None and job.state is State.PAUSED and job.at_rung:
            standing = Standing.PAUSED
        metrics = self.spec.metric
        finals = None
        if trial.standing is Standing.DONE and metrics:
            finals = tuple(
                score(None if value is None else metric.sign(value))
                for metric, value in zip(metrics, trial.finals, strict=True)
            )
        self._seen[number] = Trial(
            number=number,
            params=trial.params,
            standing=standing,
            bracket=trial.bracket,
            allowed=trial.allowed,
            scores=tuple(score(self._signed(one.value)) for one in self.reports.get(number, ())),
            final=finals,
            parent=trial.parent,
        )

    def _signed(self, value: float | None) -> float | None:
        return None if value is None or not self.spec.metric else self.spec.metric[0].sign(value)


def jobs_of(connection: Connection, ids: Sequence[str]) -> list[TrialJob]:
    """What counts of these."""
    found = []
    for begin in range(0, len(ids), AT_ONCE):
        for row in connection.execute(_JOBS, {"ids": ids[begin : begin + AT_ONCE]}):
            one = TrialJob(
                id=row.id,
                state=State(row.state),
                reason=row.reason,
                at_rung=row.reason_code == ReasonCode.RUNG,
                attempt=row.attempt,
                ended_at=row.ended_at,
            )
            found.append(one)
    return found


def _kind(spec: Sweep) -> str:
    """By which sampler values are chosen."""
    return spec.sampler if spec.strategy.has_rungs else str(spec.strategy)
