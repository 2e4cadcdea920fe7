"""Processes or threads, and how many? `Crew` says the rule, and `why` what came of it."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

from leyden.data.errors import DataError
from leyden.data.workers.base import Worker
from leyden.data.workers.messages import Answer, Setup
from leyden.data.workers.parcel import Parcel
from leyden.data.workers.pool import Pool
from leyden.data.workers.process import Process
from leyden.data.workers.ring import Memory
from leyden.data.workers.threads import Caller, Thread
from leyden.data.workers.trial import Trial

Kind = Literal["auto", "process", "thread", "none"]
_DEPTH: Final = 2  # tasks of a worker: one it is at, one that waits
_SCALES: Final = 1.6  # times as fast as one thread, from which on two are good enough
_SPARE: Final = 1.3  # workers for that many times the work of a step
_BYTES: Final = 2 << 30  # of batches made ahead, unless prefetch= says how many
_SETTLE: Final = 4  # steps after which the work of a step is known


@dataclass(frozen=True, kw_only=True, slots=True)
class Staff:
    """What was asked for; `count` None: as many as the steps turn out to need."""

    kind: Kind
    count: int | None
    prefetch: int | None  # batches


@final
class Crew:
    """Hires workers.

    Kind. Threads do only for shards whose transform gets its random numbers (or is None): any other code may draw from
    the global generators, which the training's own thread draws from too, or may not be safe in threads. These make
    the first batches at once, two together, then one alone (trial.py): if two are at least 1.6 times as fast as one,
    the decoder lets go of Python's lock, and threads stay, for as long as that is so. Else, and for all other data,
    processes take over; until the first one is ready, a thread makes the batch that the caller is waiting for. What
    cannot be pickled is made by the caller itself.

    Count. At first two; after a few steps 1.3 times what a batch costs a worker over what a step leaves between two
    batches, at most the CPUs that this process may use (affinity, cgroup) divided by the ranks of this host.
    """

    def __init__(self, staff: Staff, setup: Setup, memory: Memory) -> None:
        self._staff, self._setup, self._memory = staff, setup, memory
        self._most = staff.count or usable_cpus()
        self._is_open = staff.count is None  # whether the count is still to be found
        self._parcel: Parcel | None = None
        self._largest = 0  # bytes of a batch
        self._stand_ins: list[Worker] = []  # threads, until processes are ready
        self._trial: Trial | None = None
        self._steps: list[tuple[float, float]] = []
        self.kind, self.why = str(staff.kind), "asked for"
        self.pool = Pool(depth=_DEPTH)

    @property
    def ahead(self) -> int:
        """Batches that are made ahead of the loop."""
        if self.kind == "none":
            return 1
        count = max(len(self.pool.workers), min(2, self._most))
        return self._staff.prefetch or min(2 + _DEPTH * count, max(1 + count, _BYTES // max(self._largest, 1)))

    def hire(self) -> None:
        """Start workers, unless there are some."""
        if self.pool.workers:
            return
        if self._staff.kind == "auto":
            self.kind, self.why = self._choose()
        match self.kind:
            case "none":
                self.pool.add(lambda number: Caller(number, self._setup, self._memory))
            case "measuring":
                self._trial = Trial(self.pool, self.pool.add(self._thread), self.pool.add(self._thread))
            case "thread":
                self._grow(min(2, self._most) if self._is_open else self._most)
            case _:
                self._start_processes()
                if self._staff.kind == "auto":
                    self._stand_ins.append(self.pool.add(self._stand_in, is_reserve=True))

    def _choose(self) -> tuple[str, str]:
        shares = not self._setup.seeds_globals
        if shares and self._most > 1:
            return "measuring", "threads, until it is known whether two are faster than one"
        try:
            self._parcel = Parcel(self._setup)
        except DataError as error:
            if shares:
                return "thread", f"not processes: {error.found}"
            warnings.warn(f"batches are made by the training's own thread: {error}", stacklevel=6)
            return "none", error.found
        reason = (
            "there is one CPU" if shares else "its code may use the global random generators, or not be safe in threads"
        )
        return "process", reason

    def saw(self, answer: Answer) -> None:
        """A batch has been made."""
        self._largest = max(self._largest, answer.size)
        if self._trial is not None:
            scale = self._trial.saw(answer.times)
            if scale is not None:
                self._decide(scale)
        elif self._stand_ins and any(worker.is_ready for worker in self.pool.workers if worker not in self._stand_ins):
            self._relieve()

    def step(self, answer: Answer, busy_s: float) -> None:
        """A batch has been handed out, `busy_s` after the one before it."""
        if not self._is_open or self.kind in ("measuring", "none"):
            return
        self._steps.append((answer.times.total, busy_s))
        if len(self._steps) < _SETTLE:
            return
        work, busy = (sum(column) for column in zip(*self._steps, strict=True))
        self._steps.clear()
        self._grow(min(self._most, math.ceil(_SPARE * work / max(busy, 1e-9))))

    def _decide(self, scale: float) -> None:
        """Two threads are `scale` times as fast as one."""
        if scale < _SCALES:
            try:
                self._parcel = self._parcel or Parcel(self._setup)
            except DataError as error:
                self.kind, self.why = "thread", f"two are {scale:.1f} times as fast as one; {error.found}"
            else:
                self.kind, self.why = "process", f"two threads were only {scale:.1f} times as fast as one"
                self._stand_ins = self.pool.workers
                self._start_processes()
            self._trial = None
        elif self.kind == "measuring":
            self.kind, self.why = "thread", f"two are {scale:.1f} times as fast as one"
            self._grow(self._most if not self._is_open else 2)

    def _start_processes(self) -> None:
        self._parcel = self._parcel or Parcel(self._setup)
        self._grow(min(2, self._most) if self._is_open else self._most)

    def _relieve(self) -> None:
        """Processes are ready: threads end as soon as they have nothing to do."""
        for worker in list(self._stand_ins):
            self.pool.retire(worker)
            self._stand_ins.remove(worker)

    def _grow(self, count: int) -> None:
        make = self._thread if self.kind == "thread" else self._process
        while self.count < count:
            self.pool.add(make)

    def _thread(self, number: int) -> Worker:
        return Thread(number, self._setup, self._memory, seeds=False)

    def _stand_in(self, number: int) -> Worker:
        return Thread(number, self._setup, self._memory, seeds=True)

    def _process(self, number: int) -> Worker:
        assert self._parcel is not None
        return Process(number, self._parcel, self._memory)

    @property
    def count(self) -> int:
        """Workers, without those that only stand in for others."""
        return len(self.pool.workers) - len(self._stand_ins)

    def describe(self) -> str:
        """Kind and number of workers, and why."""
        if self.kind == "none":
            return f"no workers ({self.why})"
        one, many = ("process", "processes") if self.kind == "process" else ("thread", "threads")
        return f"{self.count} {one if self.count == 1 else many} ({self.why})"

    def close(self) -> None:
        """End all workers."""
        self.pool.close()
        if self._parcel is not None:
            self._parcel.close()


def usable_cpus(environ: dict[str, str] | None = None, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use: its affinity's, at most its cgroup's quota, divided by the ranks of this host."""
    ranks = int((environ or os.environ).get("LOCAL_WORLD_SIZE", "1"))
    found = float(len(os.sched_getaffinity(0)))
    for read in (_quota_v2, _quota_v1):
        try:
            found = min(found, read(cgroup))
        except (OSError, ValueError):
            continue
    return max(1, int(found / max(ranks, 1) + 0.5))


def _quota_v2(cgroup: Path) -> float:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return float("inf") if quota == "max" else int(quota) / int(period)


def _quota_v1(cgroup: Path) -> float:
    quota = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
    return float("inf") if quota <= 0 else quota / int((cgroup / "cpu/cpu.cfs_period_us").read_text())
