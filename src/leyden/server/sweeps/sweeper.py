"""Who looks after the sweeps that go on? One thread, whenever something was committed; and requests, for what they ask.

`leyden.sweeps` decides, from what `Study` shows; `Steering` puts that on record. After a crash everything is loaded
again, and what was decided but not done is done: the record says how far each trial may train, its job whether it does.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, final

from sqlalchemy import Connection

from leyden.core.errors import ConflictError
from leyden.core.ids import short_id
from leyden.core.reasons import ReasonCode
from leyden.core.states import State
from leyden.core.sweep import Sweep
from leyden.jobs import life
from leyden.jobs.rows import get_job
from leyden.jobs.transition import Changed
from leyden.server.sweeps import rows
from leyden.server.sweeps.answers import Answer, Then
from leyden.server.sweeps.rows import SweepRow, SweepState
from leyden.server.sweeps.steering import Steering
from leyden.server.sweeps.study import Study, jobs_of
from leyden.sweeps.planning import plan
from leyden.sweeps.state import Standing

if TYPE_CHECKING:
    from leyden.server.services import Services

LOOK_EVERY_S: Final = 2.0  # at limits of time and cost
SOON_S: Final = 0.5  # at what trials log, where one may reach the sweep's target
COST_EVERY_S: Final = 10.0


@final
class Sweeper(threading.Thread):
    """The thread. `open` first: before jobs are launched, as these are told how far they may train."""

    def __init__(self) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._lock = threading.RLock()
        self._steering: dict[str, Steering] = {}
        self._by_job: dict[str, Steering] = {}
        self._changed: set[str] = set()  # jobs of trials, since the last look
        self._noting = threading.Lock()  # of that set
        self._costs: dict[str, tuple[float, float]] = {}
        self._awake, self._closed = threading.Event(), threading.Event()
        self._services: Services

    def open(self, services: Services) -> None:
        """Know what goes on, and begin."""
        self._services = services

        def load(connection: Connection) -> list[Study]:
            return [Study.load(connection, row) for row in rows.open_sweeps(connection)]

        for study in services.store.read(load):
            self._adopt(study)
        self.start()

    def wake(self, changed: Changed) -> None:
        """The states of these jobs were changed by a commit. Takes no long lock: the store's writer calls it."""
        mine = {one for one in changed if one in self._by_job and _counts(changed[one])}
        if mine:
            with self._noting:
                self._changed |= mine
            self._awake.set()

    def close(self) -> None:
        """End after the look that is being taken."""
        self._closed.set()
        self._awake.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Until closed."""
        self._safely(self._first_look)
        while not self._closed.is_set():
            self._awake.wait(self._pause_s())
            self._awake.clear()
            if not self._closed.is_set():
                self._safely(self.step)

    def step(self) -> None:
        """One look at what has changed."""
        with self._lock:
            self._look(self._changes())

    def belongs(self, steering: Steering, job_ids: Iterable[str]) -> None:
        """These jobs are trials of that sweep."""
        for job_id in job_ids:
            self._by_job[job_id] = steering

    # What requests ask --------------------------------------------------------------------------------------------

    def submit(self, row: SweepRow) -> tuple[SweepRow, bool]:
        """Begin a sweep; the one on record where its key was seen before. Raises SpecError, PlacementError."""
        study = Study(row, (), (), ())
        Steering(self._services, study)  # raises where no trial could ever run
        row, new = self._services.store.write(lambda connection: rows.add_sweep(connection, row))
        if new:
            with self._lock:
                self._adopt(study)
                self._move(self._steering[row.id])
        return row, new

    def stop(self, row: SweepRow, who: str) -> SweepRow:
        """Pause all trials, until it is resumed. Raises ConflictError."""
        with self._lock:
            steering = self._steering.get(row.id)
            if steering is None or steering.study.row.state is SweepState.FINISHED:
                raise _cannot("be stopped", row)
            if steering.study.row.state is SweepState.RUNNING:
                steering.end(SweepState.STOPPED, f"stopped by {who}")
                self._services.keeper.wake()
            return steering.study.row

    def resume(self, row: SweepRow, changes: dict[str, object], who: str) -> SweepRow:
        """Let it go on, with other limits where such are given. Raises ConflictError, SpecError."""
        with self._lock:
            study = self._steering[row.id].study if row.id in self._steering else self._load(row)
            if study.row.state is SweepState.FINISHED and not changes:
                raise _cannot("be resumed", study.row)
            spec = study.spec.model_copy(update=self._eased(study, changes))
            spec = Sweep.model_validate(spec.model_dump())
            plan(study.job, spec)
            paused = [study.trials[number].job_id for number in study.by_standing[Standing.GOING]]
            at = self._services.clock()

            def write(connection: Connection) -> SweepRow:
                for job_id in paused:
                    job = get_job(connection, job_id)
                    if job.state is State.STOPPING or (
                        job.state is State.PAUSED and job.reason_code != ReasonCode.RUNG
                    ):
                        life.resume(connection, job_id, at=at, who=who)
                changed = {"state": SweepState.RUNNING, "reason": "", "ended_at": None, "spec": spec.model_dump_json()}
                return rows.set_sweep(connection, study.row, **changed)

            study.set_row(self._services.store.write(write))
            if study.row.id not in self._steering:
                self._adopt(study)
            self._move(self._steering[study.row.id])
            return study.row

    def measured(self, uid: str, fence: int, resource: float, values: dict[str, float | None]) -> Answer:
        """A trial stands at a rung: what it does next. Raises DeniedError for an older attempt."""
        with self._lock:
            attempt = self._services.store.read(lambda connection: life.check_fence(connection, uid, fence))
            steering = self._by_job.get(attempt.job_id)
            if steering is None:
                return Answer(then=Then.END)  # of a sweep that is over
            study = steering.study
            value = values.get(study.spec.metric[0].name) if study.spec.metric else None
            answer = steering.measured(study.numbers[attempt.job_id], resource, value)
        self._awake.set()  # others may go on now
        return answer

    def launch_of(self, job_id: str) -> tuple[str, str]:
        """How far a job may train, and its metrics; "" for one that is no trial. Takes no lock: nobody may wait."""
        steering = self._by_job.get(job_id)
        if steering is None or not steering.study.spec.strategy.has_rungs:
            return "", ""
        return steering.study.budget(steering.study.numbers[job_id]), steering.study.objective

    def cost(self, study: Study) -> float:
        """Of its trials so far, at the most ten seconds ago."""
        at, cost = self._costs.get(study.row.id, (float("-inf"), 0.0))
        if time.monotonic() - at < COST_EVERY_S:
            return cost
        ids = list(study.numbers)
        attempts = self._services.store.read(lambda connection: rows.attempts_of(connection, ids))
        cost = self._services.prices.cost(attempts, self._services.clock())
        self._costs[study.row.id] = time.monotonic(), cost
        return cost

    # The thread's own ---------------------------------------------------------------------------------------------

    def _pause_s(self) -> float | None:
        going = list(self._steering.values())
        aims = any(one.study.spec.target is not None for one in going)
        return (SOON_S if aims else LOOK_EVERY_S) if going else None

    def _first_look(self) -> None:
        with self._lock:
            for steering in list(self._steering.values()):
                self._move(steering, list(steering.study.by_standing[Standing.GOING]))

    def _changes(self) -> dict[str, list[int]]:
        """Sweep → trials whose jobs have changed since the last look."""
        with self._noting:
            ids, self._changed = self._changed, set()
        try:
            found = self._services.store.read(lambda connection: jobs_of(connection, sorted(ids))) if ids else ()
        except BaseException:  # the database is away
            with self._noting:
                self._changed |= ids
            raise
        changed: dict[str, list[int]] = {}
        for job in found:
            if steering := self._by_job.get(job.id):
                changed.setdefault(steering.study.row.id, []).append(steering.study.note(job))
        return changed

    def _look(self, changed: dict[str, list[int]]) -> None:
        for sweep_id, steering in list(self._steering.items()):
            self._move(steering, changed.get(sweep_id, ()))

    def _move(self, steering: Steering, numbers: Iterable[int] = ()) -> None:
        """One sweep's trouble stops no other."""
        try:
            if steering.look(numbers):
                self._services.keeper.wake()
            self._say(steering.study, "")
        except Exception as error:
            if f"{error}" not in steering.study.row.reason:
                traceback.print_exc()
            self._say(steering.study, f"cannot go on for now: {error}"[:500])
        if steering.study.settled:
            self._let_go(steering)

    def _say(self, study: Study, trouble: str) -> None:
        """Let a sweep that runs tell what is in its way."""
        row = study.row
        if row.state is SweepState.RUNNING and row.reason != trouble:
            study.row = self._services.store.write(lambda connection: rows.set_sweep(connection, row, reason=trouble))

    def _adopt(self, study: Study) -> None:
        steering = Steering(self._services, study)
        self._steering[study.row.id] = steering
        self.belongs(steering, study.numbers)
        with self._noting:
            self._changed |= study.numbers.keys()  # since it was loaded
        self._awake.set()  # from now on limits of time and cost are looked at

    def _let_go(self, steering: Steering) -> None:
        self._steering.pop(steering.study.row.id, None)
        for job_id in steering.study.numbers:
            self._by_job.pop(job_id, None)

    def _load(self, row: SweepRow) -> Study:
        return self._services.store.read(lambda connection: Study.load(connection, row))

    def _eased(self, study: Study, changes: dict[str, object]) -> dict[str, object]:
        """What is different from now on: a limit that was reached counts anew."""
        eased = dict(changes)
        if isinstance(more := changes.get("time"), int | float):
            eased["time"] = self._services.clock() - study.row.created_at + more
        if study.row.state is SweepState.FAILED and "max_failures" not in changes:
            eased["max_failures"] = len(study.by_standing[Standing.FAILED]) + (study.spec.max_failures or 0)
        return eased

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # the disk is full, the database away: the next look may find it mended
            traceback.print_exc()


def _counts(states: Iterable[State]) -> bool:
    """Whether a sweep decides anything by such a change: a trial has ended, stands aside, or no longer does."""
    return any(state.final or state in {State.PAUSED, State.HELD} for state in states)


def _cannot(what: str, row: SweepRow) -> ConflictError:
    return ConflictError(
        asked=f"sweep {short_id(row.id)} is to {what}",
        found=f"it is {row.state}: {row.reason}" if row.reason else f"it is {row.state}",
        do="Give it more to do, e.g. `leyden sweep resume ID --trials 200`."
        if "resume" in what
        else "Nothing needs to be.",
    )
