"""What must be true of the record at every moment, whatever has happened?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, final

from sqlalchemy import Connection, select

from leyden.core.devices import split_of, whole
from leyden.core.states import ACTIVE, Intent, State, may_follow
from leyden.jobs.rows import JobRow, job_row
from leyden.jobs.tables import attempts, events, jobs, leases


def each_held_once(devices: Iterable[str]) -> bool:
    """No device twice, no GPU whole and in parts, none in parts of two splits: never more than all of it."""
    found = Counter(devices)
    splits: dict[str, set[int]] = {}
    for device in found:
        splits.setdefault(whole(device), set()).add(split_of(device))
    return max(found.values(), default=0) <= 1 and all(len(those) == 1 for those in splits.values())


@final
@dataclass
class Watcher:
    """Compares each look with those before."""

    jobs: dict[str, JobRow] = field(default_factory=dict)
    outcomes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)  # by the events read so far
    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # as the table keeps them: most have not changed
    last_event: int = 0

    def look(self, connection: Connection) -> None:
        """AssertionError where something is not as it must be."""
        found = {}
        for row in connection.execute(select(jobs)):
            plain = tuple(row)
            found[row.id] = self.jobs[row.id] if self.rows.get(row.id) == plain else job_row(row)
            self.rows[row.id] = plain
        assert found.keys() >= self.jobs.keys(), "a job was lost"
        for key, job in found.items():
            if job is not self.jobs.get(key):
                self._job(job)
        self._events(connection, found)
        self._attempts(connection, found)
        self.jobs = found

    def _job(self, job: JobRow) -> None:
        before = self.jobs.get(job.id)
        if before is not None:
            assert job.version >= before.version
            assert (job.version > before.version) or job.state is before.state
            assert job.fence >= before.fence
            assert not before.state.final or job == before, "a final job changed"
        if job.state in {State.QUEUED, State.HELD, State.PAUSED}:
            assert job.reason, "a waiting job does not say why"
        assert (job.intent is not Intent.NONE) == (job.state is State.STOPPING)
        assert job.state.final == (job.ended_at is not None)

    def _events(self, connection: Connection, found: dict[str, JobRow]) -> None:
        new = connection.execute(select(events).where(events.c.id > self.last_event).order_by(events.c.id)).all()
        for event in new:
            self.last_event = event.id
            assert event.before == self.states.get(event.job_id, "")
            if event.before == "":
                assert event.after in {State.QUEUED, State.HELD}
            elif event.before != event.after:
                assert may_follow(State(event.before), State(event.after)), (event.before, event.after)
            else:
                assert event.after == State.STOPPING  # only what becomes of it changed
            self.states[event.job_id] = event.after
        assert {key: job.state for key, job in found.items()} == self.states

    def _attempts(self, connection: Connection, found: dict[str, JobRow]) -> None:
        held = list(connection.execute(select(leases).where(leases.c.released_at.is_(None))))
        assert each_held_once(row.device for row in held), "a device with two holders"
        open_, numbers = set(), Counter[str]()
        for row in connection.execute(select(attempts)):
            numbers[row.job_id] += 1
            if row.ended_at is None:
                assert row.job_id not in open_, "two attempts of one job at a time"
                assert (row.number, row.fence) == (found[row.job_id].attempt, found[row.job_id].fence)
                assert not row.outcome
                open_.add(row.job_id)
            else:
                told = (row.outcome, row.message, row.exit_code, row.ended_at)
                assert row.outcome
                assert self.outcomes.setdefault(row.uid, told) == told, "an outcome was written twice"
        assert open_ == {key for key, job in found.items() if job.state in ACTIVE}
        assert {row.job_id for row in held} == open_, "devices are held by who does not run"
        assert {row.attempt_uid for row in held}.isdisjoint(self.outcomes)
        assert all(numbers[key] == job.attempt for key, job in found.items())
