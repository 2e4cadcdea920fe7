"""How do the store and the places where jobs run stay in step?

One pass: place what waits, look at every open attempt, and bring record and reality together. A restarted server needs
nothing else: an intent on record that never reached the engine is launched, what runs is adopted, what died is ended.
No transaction is open while the engine is called.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import final

from leyden.core.states import Intent, State
from leyden.engines.base import AttemptRef, Ending, Engine, Launch, Life, Machine, Outcome, Sighting, attempt_folder
from leyden.jobs import life
from leyden.jobs.placing import Placing
from leyden.jobs.rows import AttemptRow, JobRow, unclean_attempts
from leyden.jobs.snapshot import Decisions, Snapshot
from leyden.jobs.store import Store

SAVE_GRACE_S = 30.0  # to save a checkpoint in, for a job that does not say


@final
class Keeper:
    """Runs passes; one thread only."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        machine: Machine,
        runs: Path,
        prepare: Callable[[JobRow, AttemptRow], Launch],
        clock: Callable[[], float],
        stop_grace_s: float,
    ) -> None:
        self._store = store
        self._engine = engine
        self._machine = machine
        self._runs = runs
        self._prepare = prepare
        self._clock = clock
        self._stop_grace_s = stop_grace_s
        self._placing = Placing(store=store, machine=machine, clock=clock)

    @property
    def last(self) -> tuple[Snapshot, Decisions] | None:
        """What the newest pass saw and decided: `leyden why` reads it."""
        return self._placing.last

    def step(self) -> bool:
        """One pass; True where it freed devices, so that another one should follow at once."""
        self._placing.step()
        unclean = self._store.read(unclean_attempts)
        sightings = self._engine.poll([self._ref(attempt) for attempt, _ in unclean])
        freed, clean = False, list[AttemptRow]()
        for attempt, job in unclean:
            if (seen := sightings.get(attempt.engine_ref)) is None:
                continue
            try:
                if attempt.ended_at is None:
                    freed = self._tend(attempt, job, seen) or freed
                elif self._engine.release(self._ref(attempt)):
                    clean.append(attempt)
            except Exception:  # one attempt's trouble, e.g. its folder was deleted, must not stop the others
                traceback.print_exc()
        if clean:
            self._store.write(lambda connection: life.cleaned(connection, clean, at=self._clock()))
        return freed

    def _tend(self, attempt: AttemptRow, job: JobRow, seen: Sighting) -> bool:
        """Bring the record of one that has not ended up to what was seen; True where its devices are free now."""
        ref = self._ref(attempt)
        if seen.outcome:
            return self._end(attempt, seen.outcome)
        if seen.life is Life.ALIVE:
            self._follow(attempt, job, seen)
            return False
        if seen.life is Life.UNKNOWN and job.state in {State.ADMITTED, State.STARTING}:
            return self._launch(attempt, job)
        if not self._engine.release(ref):
            return False  # what it left behind still dies; its devices are not free before that
        died = "the worker process died" if seen.life is Life.GONE else "the attempt was never started"
        message = f"{died}; see worker.log in {ref.folder}"
        return self._end_without_outcome(attempt, job, message, started_at=seen.started_at)

    def _follow(self, attempt: AttemptRow, job: JobRow, seen: Sighting) -> None:
        if seen.started_at is not None and attempt.started_at is None:
            at, pid = seen.started_at, seen.pid
            self._store.write(lambda connection: life.started(connection, attempt, pid=pid, at=at))
        if job.state is State.STARTING and seen.doing and seen.doing != job.reason:
            self._store.write(lambda connection: life.busy(connection, job, seen.doing))
        if job.state is State.STOPPING:
            save = job.intent in {Intent.PREEMPT, Intent.PAUSE}
            grace_s = (job.preempt_grace_s or SAVE_GRACE_S) if save else self._stop_grace_s
            self._engine.stop(self._ref(attempt), grace_s, save=save)
        elif job.state is State.ADMITTED:  # a crash came between the launch and its record
            self._store.write(lambda connection: life.launched(connection, attempt, at=self._clock()))

    def _launch(self, attempt: AttemptRow, job: JobRow) -> bool:
        try:
            self._engine.launch(self._prepare(job, attempt))
        except Exception as error:  # whatever it is, the job must not hold devices and never start
            traceback.print_exc()
            message = f"the worker could not be started: {error}"
            return self._engine.release(self._ref(attempt)) and self._end_without_outcome(attempt, job, message)
        self._store.write(lambda connection: life.launched(connection, attempt, at=self._clock()))
        return False

    def _end_without_outcome(
        self, attempt: AttemptRow, job: JobRow, message: str, *, started_at: float | None = None
    ) -> bool:
        kind, said = (Ending.CANCELLED, "cancelled") if job.state is State.STOPPING else (Ending.INFRA, message)
        return self._end(attempt, Outcome(kind=kind, message=said, ended_at=self._clock(), started_at=started_at))

    def _end(self, attempt: AttemptRow, outcome: Outcome) -> bool:
        return self._store.write(lambda connection: life.ended(connection, attempt, outcome, at=self._clock()))

    def _ref(self, attempt: AttemptRow) -> AttemptRef:
        folder = attempt_folder(self._runs / attempt.job_id, attempt.number)
        return AttemptRef(engine_ref=attempt.engine_ref, folder=folder)
