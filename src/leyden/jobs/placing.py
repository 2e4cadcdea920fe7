"""How do the scheduler's decisions get on record? Load, decide, apply; nothing where nothing has changed."""

from __future__ import annotations

import contextlib
import gc
import time
import traceback
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Final, final

from sqlalchemy import Connection

from leyden.core.ids import short_id
from leyden.core.reasons import Reason
from leyden.engines.base import Machine
from leyden.jobs import life
from leyden.jobs.history import History, load_history
from leyden.jobs.queue import last_change, load_snapshot
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Decisions, Snapshot
from leyden.jobs.store import Store
from leyden.jobs.transition import LostRaceError

LOOK_AGAIN_S: Final = 30.0  # though nothing has changed: shares and what reasons tell of times move on
HISTORY_S: Final = 30.0
AT_ONCE: Final = 5000  # reasons written in one pass; the writer has more to do
MANY: Final = 10_000  # a pass over more is followed by as long a rest, so that requests are answered meanwhile


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Nothing a pass makes is garbage before its end; looking for some is a third of a pass over 100,000 jobs."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@final
class Placing:
    """Makes passes of the scheduler; one thread only."""

    def __init__(
        self,
        *,
        store: Store,
        machine: Machine,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._machine = machine
        self._clock = clock
        self._timer = timer
        self._rests_until = timer()
        self._history, self._read_at = History(), float("-inf")
        self._seen: Hashable = None
        self._valid = 0.0, 0.0  # from when to when the newest pass would decide the same, if nothing changes
        self.last: tuple[Snapshot, Decisions] | None = None  # of the newest pass: `leyden why` reads it

    def step(self) -> None:
        """One pass, if there may be anything to decide."""
        now, begin = self._clock(), self._timer()
        if begin < self._rests_until:
            return
        valid = self._valid[0] <= now < self._valid[1]
        if not self._read_at <= now < self._read_at + HISTORY_S:
            self._history, self._read_at = self._store.read(load_history), now

        def load(connection: Connection) -> tuple[Hashable, Snapshot | None]:
            change = last_change(connection)
            same = valid and change == self._seen
            return change, None if same else load_snapshot(connection, self._machine, now=now, history=self._history)

        with uncollected():
            change, snapshot = self._store.read(load)
            if snapshot is None:
                return
            self._seen = None
            decisions = decide(snapshot)
        self.last = snapshot, decisions
        if self._apply(snapshot, decisions):
            later = [one.not_before for one in snapshot.waiting if one.not_before and one.not_before > now]
            self._seen, self._valid = change, (now, min([now + LOOK_AGAIN_S, *later]))
        end = self._timer()
        self._rests_until = end + (end - begin if len(snapshot.waiting) > MANY else 0.0)

    def _apply(self, snapshot: Snapshot, decisions: Decisions) -> bool:
        """True where all of it is on record. A job that has changed since the snapshot is left as it is."""
        node, at = self._machine.node, snapshot.now
        admits = [
            self._store.submit(partial(life.admit, job_id=key, devices=devices, node=node, at=at))
            for key, devices in decisions.starts.items()
        ]
        whole, told = self._explain(snapshot, decisions)  # in the same commit
        for key, other in decisions.preempts.items():
            self._store.write(partial(life.preempt, job_id=key, at=at, why=f"makes way for job {short_id(other)}"))
        for one in admits:
            error = one.exception()
            if error and not isinstance(error, LostRaceError):  # that one was cancelled meanwhile
                traceback.print_exception(error)
                whole = False
        if told:
            told.result()
        return whole

    def _explain(self, snapshot: Snapshot, decisions: Decisions) -> tuple[bool, Future[None] | None]:
        """Whether all that is new is being put on record, and when it is."""
        reasons = decisions.reasons
        says = {job.who.job_id: job.says for job in snapshot.waiting}
        changed = ((key, reason) for key, reason in reasons.items() if says[key] != reason.text)
        first: dict[str, Reason] = dict(islice(changed, AT_ONCE))
        told = self._store.submit(lambda connection: life.explain(connection, first)) if first else None
        return len(first) < AT_ONCE, told
