"""What does a sweep do next, and how does that get on record, its trials and their jobs in one transaction?"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from sqlalchemy import Connection

from leyden.core.states import State
from leyden.core.sweep import Strategy
from leyden.core.sweep_views import Value
from leyden.core.units import format_duration
from leyden.jobs import life
from leyden.jobs.placement import Size
from leyden.jobs.rows import JobRow, get_job
from leyden.server.sweeps import rows, values
from leyden.server.sweeps.answers import Answer, Then
from leyden.server.sweeps.making import newest_checkpoint, size_of, trial_job
from leyden.server.sweeps.rows import ReportRow, SweepState, TrialRow
from leyden.server.sweeps.study import Study, TrialJob
from leyden.sweeps.pbt import Pbt
from leyden.sweeps.state import Standing

if TYPE_CHECKING:
    from leyden.server.services import Services

HOPELESS: Final = 5  # so many failed, and nothing came of any other: the script is broken
IN_VAIN: Final = 10  # attempts more than rungs; preemptions count too
WHO: Final = "sweep"
GOOD: Final = "as good as the sweep's target"
_BLIND: Final = frozenset({Strategy.GRID, Strategy.RANDOM})  # learn nothing from one trial for the next


@final
class Steering:
    """Of one study; hold the sweeper's lock."""

    def __init__(self, services: Services, study: Study) -> None:
        self._services, self._study = services, study
        self._store, self._clock = services.store, services.clock
        self._size: Size = size_of(services, study)

    @property
    def study(self) -> Study:
        """What is known of the sweep."""
        return self._study

    def look(self, numbers: Iterable[int]) -> bool:
        """These trials' jobs have changed; whether that led to anything that the scheduler should look at."""
        for number in numbers:
            self._settle(number)
        return self.go_on()

    def go_on(self) -> bool:
        """Let trials go on and start others, or end; whether anything came of it."""
        if self._study.row.state is not SweepState.RUNNING:
            return False
        self._close_the_good()
        if ended := self._limit():
            self.end(*ended)
            return True
        study, moved = self._study, self._promote() + self._start()
        if not moved and study.course.over(study.seen(), study.asked):
            self.end(SweepState.FINISHED, self._summary())
        return bool(moved)

    # A trial whose job has changed --------------------------------------------------------------------------------

    def _settle(self, number: int) -> None:
        """Put on record what its job's state means."""
        study = self._study
        trial, job = study.trials[number], study.jobs.get(number)
        if job is None or trial.standing is not Standing.GOING:
            return
        if job.state.final or (job.state is State.PAUSED and job.at_rung):
            self._catch_up(number)
        if job.state.final:
            self._ended(number, job)
        elif job.state is State.PAUSED and job.at_rung and self._at_the_top(number):
            self._close(number, Standing.DONE, finals=[study.reports[number][-1].value])
        elif study.waits_to_go_on(number) and job.attempt > study.measured(number) + IN_VAIN:
            self._close(number, Standing.FAILED, note=f"paused {job.attempt} times, but was measured at no new rung")

    def _catch_up(self, number: int) -> None:
        """Reports that the trial wrote down, but could not send."""
        if not self._study.spec.strategy.has_rungs:
            return
        known = {one.resource for one in self._study.reports.get(number, ())}
        for one in values.at_rungs(self._folder(number), self._study.spec.metric[0].name):
            if one.resource not in known:
                self._record(number, one.resource, one.value, one.at)

    def _ended(self, number: int, job: TrialJob) -> None:
        study = self._study
        if job.state is State.SUCCEEDED:
            finals = values.finals(self._folder(number), [one.name for one in study.spec.metric])
            unknown = [one.name for one, value in zip(study.spec.metric, finals, strict=True) if value is None]
            if unknown:
                self._close(number, Standing.FAILED, note=values.missing(self._folder(number), unknown[0]))
            elif self._study.spec.target is not None and (good := self._as_good(self._bounds(number))) is not None:
                self._close(number, Standing.DONE, note=GOOD, finals=[good, *finals[1:]])
            elif finals and not math.isfinite(finals[0] or 0.0):
                note = f"diverged: {study.spec.metric[0].name} is {finals[0]} at its end"
                self._close(number, Standing.FAILED, note=note)
            else:
                self._close(number, Standing.DONE, finals=finals)
        elif job.state is State.CANCELLED:
            self._close(number, Standing.DROPPED, note=job.reason)
        else:
            note = values.failure(self._folder(number), job.attempt, job.reason)
            self._close(number, Standing.FAILED, note=note)

    def _bounds(self, number: int) -> tuple[float, float] | None:
        return values.bounds(self._folder(number), self._study.spec.metric[0].name)

    def _close(
        self, number: int, standing: Standing, *, note: str = "", finals: list[float | None] | None = None
    ) -> None:
        """The trial changes no more."""
        trial = replace(self._study.trials[number], standing=standing, note=note, finals=tuple(finals or ()))
        job = self._study.jobs.get(number)

        def write(connection: Connection) -> None:
            rows.close_trial(connection, trial)
            if job is None or not job.state.final:
                life.cancel(connection, trial.job_id, at=self._clock(), who=WHO, why=note or "its trial is done")

        self._store.write(write)
        self._study.put(trial)

    def _close_the_good(self) -> None:
        """Trials that run, and have logged a value as good as the target: no need to wait for their end."""
        study, spec = self._study, self._study.spec
        if spec.target is None or not spec.metric:
            return
        for number in list(study.by_standing[Standing.GOING]):
            live = self._services.tracker.tail.live.get(study.trials[number].job_id)
            if live is not None and (good := self._as_good(live.stats.bounds(spec.metric[0].name))) is not None:
                others = [live.stats.last(one.name) for one in spec.metric[1:]]
                self._close(number, Standing.DONE, note=GOOD, finals=[good, *others])

    def _as_good(self, bounds: tuple[float, float] | None) -> float | None:
        """The best of what a trial has logged, where that reaches the sweep's target."""
        spec = self._study.spec
        if spec.target is None or bounds is None:
            return None
        sign = spec.metric[0].sign
        best = min(bounds, key=sign)
        return best if math.isfinite(best) and sign(best) <= sign(spec.target) else None

    # A trial that asks --------------------------------------------------------------------------------------------

    def measured(self, number: int, resource: float, value: float | None) -> Answer:
        """It stands at a rung with its checkpoint saved: may it train further?"""
        study = self._study
        if study.row.state is SweepState.FINISHED:
            return Answer(then=Then.END)
        if self._due(number, resource):
            self._record(number, resource, value, self._clock())
        if self._at_the_top(number):
            return Answer(then=Then.END)
        if study.row.state is not SweepState.RUNNING:
            return Answer(then=Then.PAUSE)
        if study.measured(number) > study.trials[number].allowed:
            self._promote(only=number)
        if study.measured(number) > study.trials[number].allowed or study.trials[number].standing is not Standing.GOING:
            return Answer(then=Then.PAUSE)
        return Answer(then=Then.GO_ON, budget=study.budget(number))

    def _due(self, number: int, resource: float) -> bool:
        level = self._study.course.budget_of(self._study.trial(number))
        allowed = self._study.trials[number].allowed
        return level is not None and resource >= level and self._study.measured(number) == allowed

    def _record(self, number: int, resource: float, value: float | None, at: float) -> None:
        rung = self._study.measured(number)
        if rung > self._study.trials[number].allowed:
            return  # it was not to train as far as that
        report = ReportRow(sweep_id=self._study.row.id, number=number, rung=rung, resource=resource, value=value, at=at)
        self._store.write(lambda connection: rows.add_reports(connection, [report]))
        self._study.report(report)

    def _at_the_top(self, number: int) -> bool:
        levels = self._study.course.levels(self._study.trials[number].bracket)
        return bool(levels) and self._study.measured(number) >= len(levels)

    # What is decided ----------------------------------------------------------------------------------------------

    def _promote(self, only: int | None = None) -> int:
        """Let trials train to their next rung; how many."""
        study = self._study
        chosen = study.course.promotable(study.seen())
        chosen = [one for one in chosen if only in (None, one) and not self._too_far(one)]
        if only is None:
            room = self._limit_of_flight() - study.in_flight()
            waiting = [number for number in study.trials if study.waits_to_go_on(number)]  # decided, but not done yet
            chosen = [*waiting, *chosen][: max(0, room)]
        replaced = [one for one in chosen if study.measured(one) > study.trials[one].allowed and self._replaced(one)]
        raised = {one: study.trials[one] for one in chosen if one not in replaced}
        if not raised:
            return len(replaced)
        for number, trial in raised.items():
            if study.measured(number) > trial.allowed:
                raised[number] = replace(trial, allowed=trial.allowed + 1)

        def write(connection: Connection) -> None:
            for trial in raised.values():
                rows.set_trial(connection, trial.sweep_id, trial.number, allowed=trial.allowed)
                if get_job(connection, trial.job_id).state is State.PAUSED:
                    life.resume(connection, trial.job_id, at=self._clock(), who=WHO)

        self._store.write(write)
        for trial in raised.values():
            study.put(trial)
        return len(chosen)

    def _start(self) -> int:
        """Start trials while there is room; how many."""
        study, asked = self._study, self._study.asked
        room = self._limit_of_flight() - study.in_flight()
        made: list[tuple[TrialRow, JobRow]] = []
        try:
            while len(made) < room and (asked is None or study.begun < asked) and study.course.room(study.seen()):
                number = len(study.trials)
                params = study.suggester.ask(number, study.seen())
                made.append(self._new(number, params))
                study.put(made[-1][0])  # the next one is chosen beside it
            self._put_on_record(made)
        except BaseException:
            for trial, _ in made:
                study.drop(trial.number)
            raise
        return len(made)

    def _replaced(self, number: int) -> bool:
        """Whether a changed copy of a better one takes its place, as under PBT."""
        study = self._study
        if not isinstance(study.course, Pbt):
            return False
        chance = random.Random(f"{study.spec.seed}/{number}/{study.measured(number)}")
        source = study.course.exploit(study.trial(number), study.seen(), chance)
        if source is None:
            return False
        best, copied = study.trials[source], study.reports[source]
        if self._at_the_top(source):
            return False  # nothing would be left to train
        params = study.space.perturb(best.params, chance)
        try:
            begins = newest_checkpoint(self._services, best.job_id)  # of its last rung, or later
            made = self._new(len(study.trials), params, parent=number, allowed=len(copied), resume_from=begins)
        except FileNotFoundError:
            return False  # it has none, or has removed it just now
        note = f"replaced by trial {made[0].number}, which goes on from trial {source}"
        loser = replace(study.trials[number], standing=Standing.DROPPED, note=note)
        begun = [replace(one, number=made[0].number) for one in copied]
        study.put(made[0])
        try:
            self._put_on_record([made], loser=loser, reports=begun)
        except BaseException:
            study.drop(made[0].number)
            raise
        study.put(loser)
        for one in begun:
            study.report(one)
        return True

    def _new(
        self,
        number: int,
        params: dict[str, Value],
        *,
        parent: int | None = None,
        allowed: int = 0,
        resume_from: str = "",
    ) -> tuple[TrialRow, JobRow]:
        study = self._study
        job = trial_job(self._services, study, self._size, number, params, resume_from=resume_from)
        trial = TrialRow(
            sweep_id=study.row.id,
            number=number,
            job_id=job.id,
            params=params,
            standing=Standing.GOING,
            bracket=study.course.bracket_of(number),
            allowed=allowed,
            parent=parent,
        )
        return trial, job

    def _put_on_record(
        self, made: list[tuple[TrialRow, JobRow]], *, loser: TrialRow | None = None, reports: Sequence[ReportRow] = ()
    ) -> None:
        """The study knows them by now: a job may be launched, and told how far to train, once it is on record."""
        if not made:
            return
        self._services.sweeper.belongs(self, [job.id for _, job in made])

        def write(connection: Connection) -> None:
            life.submit_many(connection, [job for _, job in made])
            rows.add_trials(connection, [trial for trial, _ in made])
            if reports:
                rows.add_reports(connection, reports)
            if loser is not None:
                rows.close_trial(connection, loser)
                life.cancel(connection, loser.job_id, at=self._clock(), who=WHO, why=loser.note)

        self._store.write(write)

    # Its end ------------------------------------------------------------------------------------------------------

    def end(self, state: SweepState, reason: str) -> None:
        """No more trials. Those that go on are cancelled where it is finished, else paused."""
        study, at = self._study, self._clock()
        finished = state is SweepState.FINISHED
        left = [one for one in study.trials.values() if one.standing is Standing.GOING]
        dropped = [replace(one, standing=Standing.DROPPED, note=self._left_behind(one)) for one in left if finished]

        def write(connection: Connection) -> rows.SweepRow:
            for one in left:
                job = get_job(connection, one.job_id)
                if finished:
                    life.cancel(connection, job.id, at=at, who=WHO, why=self._left_behind(one))
                elif not job.state.final and job.state is not State.HELD:
                    life.pause(connection, job.id, at=at, who=WHO)
            for one in dropped:
                rows.close_trial(connection, one)
            return rows.set_sweep(connection, study.row, state=state, reason=reason, ended_at=at)

        study.set_row(self._store.write(write))
        for one in dropped:
            study.put(one)

    def _left_behind(self, trial: TrialRow) -> str:
        measured = self._study.measured(trial.number)
        return f"not let past rung {measured}" if measured > trial.allowed else "the sweep was over"

    def _limit(self) -> tuple[SweepState, str] | None:
        """Why it must not go on."""
        study, spec = self._study, self._study.spec
        if spec.target is not None and (best := study.best()) is not None:
            sign = spec.metric[0].sign
            if sign(best[1]) <= sign(spec.target):
                reached = f"reached its target: trial {best[0]} has {spec.metric[0].name} {best[1]:.6g}"
                return SweepState.FINISHED, reached
        failed = study.by_standing[Standing.FAILED]
        most = HOPELESS - 1 if spec.max_failures is None else spec.max_failures
        if len(failed) > most and (
            spec.max_failures is not None or not (study.by_standing[Standing.DONE] or study.reports)
        ):
            last = study.trials[max(failed)]
            return SweepState.FAILED, f"{len(failed)} trials failed, the last ({last.number}): {last.note}"
        if spec.time is not None and self._clock() - study.row.created_at >= spec.time:
            return SweepState.STOPPED, f"its time of {format_duration(spec.time)} is over"
        if spec.cost is not None and (cost := self._services.sweeper.cost(study)) >= spec.cost:
            return SweepState.STOPPED, f"its trials have cost {cost:.2f} of {spec.cost:g}"
        return None

    def _summary(self) -> str:
        best, metric = self._study.best(), self._study.spec.metric
        return f"best: trial {best[0]} with {metric[0].name} {best[1]:.6g}" if best else "all trials have ended"

    def _too_far(self, number: int) -> bool:
        """Whether it waits for others: a population that cannot train at once takes turns, or it could not compare."""
        study = self._study
        if not isinstance(study.course, Pbt) or self._services.room(self._size) >= (study.asked or 0):
            return False
        going = study.by_standing[Standing.GOING]
        return study.begun < (study.asked or 0) or any(study.measured(one) < study.measured(number) for one in going)

    def _limit_of_flight(self) -> int:
        """How many trials may hold devices or wait for some."""
        spec, room = self._study.spec, self._services.room(self._size)
        if spec.parallel is not None:
            return spec.parallel
        return 3 * room if spec.strategy in _BLIND else room  # some wait, so that no device does

    def _folder(self, number: int) -> Path:
        return self._services.home.runs / self._study.trials[number].job_id
