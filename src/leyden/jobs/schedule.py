"""Which waiting jobs start now, on which devices, who makes way, and why does every other one wait?

A pure function over a snapshot. Jobs are looked at as they stand in line (`fairness`). The first that cannot start for
want of some devices is the head of the line for these: it gets a reservation, which those behind it must leave alone
(`backfill`), and jobs of lower priority may have to make way for it (`preemption`). ADR 0009 says why so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import final

from leyden.core.devices import count_of, parts, split_of, whole
from leyden.core.errors import PlacementError
from leyden.core.reasons import Reason, ReasonCode
from leyden.engines.base import Machine
from leyden.jobs import sentences
from leyden.jobs.backfill import Book, Need, Reservation
from leyden.jobs.estimate import expected
from leyden.jobs.fairness import in_line, rank, standings_of
from leyden.jobs.placement import Size, refuse_impossible
from leyden.jobs.preemption import Lack, victims
from leyden.jobs.quotas import quota_of
from leyden.jobs.snapshot import Decisions, Quota, Running, Snapshot, Waiting, Who

_NOT_YET = Reason(code=ReasonCode.NOT_YET, text="waits a moment before it is tried again")


def decide(snapshot: Snapshot) -> Decisions:
    """One pass over the queue."""
    standings = standings_of(snapshot)
    one = _Pass(snapshot, Decisions(standings=standings))
    for job in in_line(snapshot.waiting, standings):
        one.look_at(job)
    line = [*one.line, *one.aside]
    one.decisions.expected.update(expected(snapshot.machine, one.running(), line, snapshot.now, snapshot.quotas))
    return one.decisions


@dataclass(kw_only=True, slots=True)
class _Line:
    """Who waits for the same devices, behind a head that has a reservation."""

    contested: frozenset[str]
    kept: Reservation
    last: Who


@dataclass(kw_only=True, slots=True)
class _Class:
    """What is known of jobs of one size, so that ten thousand of them are not tried one by one."""

    needs: list[Need]
    counts: dict[str, float]
    impossible: Reason | None
    passes_s: float = inf  # a job that may run longer than this cannot start any more in this pass
    line: _Line | None = None
    awaits: str = ""  # "GPUs", "CPUs" or both
    kept: Reason | None = None  # they would fit, but for a reservation


@dataclass(kw_only=True, slots=True)
class _Holding:
    """What a user holds, and may."""

    quota: Quota
    counts: dict[str, float] = field(default_factory=lambda: {"GPU": 0, "CPU": 0})

    def left(self, kind: str) -> float:
        """How many more they may."""
        most = self.quota.gpus if kind == "GPU" else self.quota.cpus
        return inf if most is None else round(most - self.counts[kind], 9)


@final
class _Pass:
    def __init__(self, snapshot: Snapshot, decisions: Decisions) -> None:
        self.decisions = decisions
        self.line: list[Waiting] = []  # for devices
        self.aside: list[Waiting] = []  # may not start yet, whatever is free
        self._snapshot = snapshot
        self._started: list[Running] = []
        self._victims: dict[str, Running] = {}
        self._lines: list[_Line] = []
        self._classes: dict[Size, _Class] = {}
        self._cpus = [f"cpu:{number}" for number in range(snapshot.machine.cpus)]
        gpus = [gpu.device for gpu in snapshot.machine.gpus]
        self._book = Book([*gpus, *self._cpus], snapshot.now, _shares(snapshot))
        self._holdings: dict[str, _Holding] = {}
        for job in snapshot.running:
            self._book.take(job)
            self._hold(job)

    def running(self) -> list[Running]:
        """What holds devices after this pass; those that make way no longer count."""
        return [job for job in self._snapshot.running if job.who.job_id not in self._victims] + self._started

    def look_at(self, job: Waiting) -> None:
        """Start it, or say why not."""
        known = self._classes.get(job.size) or self._class_of(job.size)
        reason = job.blocked or known.impossible or self._may_not(job, known)
        if reason is None:
            limit = inf if job.time_s is None else job.time_s
            reason = self._try(job, known, limit) if limit <= known.passes_s else self._behind(job, known)
            if reason is None:
                return
            self.line.append(job)
            self.decisions.order.append(job.who.job_id)
        elif reason.code is not ReasonCode.IMPOSSIBLE:
            self.aside.append(job)
        self.decisions.reasons[job.who.job_id] = reason

    def _class_of(self, size: Size) -> _Class:
        machine = self._snapshot.machine
        fitting = [one for gpu in machine.gpus if size.takes(gpu) for one in parts(gpu.device, size.share)]
        gpus = Need(kind="GPU", count=size.gpus, devices=fitting)
        cpus = Need(kind="CPU", count=size.cpus, devices=self._cpus)
        known = _Class(
            needs=[need for need in (gpus, cpus) if need.count],
            counts={"GPU": size.gpus / size.share, "CPU": size.cpus},
            impossible=_impossible(size, machine),
        )
        self._classes[size] = known
        return known

    def _may_not(self, job: Waiting, known: _Class) -> Reason | None:
        if job.not_before is not None and job.not_before > self._snapshot.now:
            return _NOT_YET
        if not self._snapshot.quotas:
            return None
        holding = self._holding(job.who.user)
        return sentences.over_quota(job.who.user, known.counts, holding.counts, holding.quota)

    def _try(self, job: Waiting, known: _Class, limit: float) -> Reason | None:
        """None where it starts."""
        free = [[one for one in need.devices if one not in self._book.holders] for need in known.needs]
        short = [need for need, there in zip(known.needs, free, strict=True) if len(there) < need.count]
        if short:
            known.passes_s, known.kept = -inf, None
            for line in self._lines:
                if kinds := [f"{need.kind}s" for need in short if not line.contested.isdisjoint(need.devices)]:
                    known.line, known.awaits = line, " and ".join(kinds)
                    return self._behind(job, known)
            return self._head(job, known, short)
        if missing := self._missing(known, free, limit):
            known.kept = self._kept(known, free, missing, limit)
            return known.kept
        self._start(job, self._choose(job, known, free, limit))
        return None

    def _kept(self, known: _Class, free: Sequence[Sequence[str]], missing: Sequence[Need], limit: float) -> Reason:
        """It would fit, but for reservations: who has most of what it misses, and how short would be short enough?"""
        now = self._snapshot.now
        spans = [line.kept.until - now for line in self._lines]
        known.passes_s = max((span for span in spans if not self._missing(known, free, span)), default=-inf)
        devices = {one for need in missing for one in need.devices}
        barring = [line.kept for line in self._lines if self._bars(line.kept, limit)]
        most = max(barring, key=lambda kept: len(kept.devices & devices))
        kinds = " and ".join(f"{need.kind}s" for need in missing)
        return sentences.kept(kinds, most.who, now + known.passes_s, now, self._snapshot.zone)

    def _bars(self, kept: Reservation, limit: float) -> bool:
        return self._snapshot.now + limit > kept.until

    def _missing(self, known: _Class, free: Sequence[Sequence[str]], limit: float) -> list[Need]:
        """What it lacks if it leaves alone what is kept for longer than it may run."""
        usable = self._usable(free, limit)
        return [need for need, there in zip(known.needs, usable, strict=True) if len(there) < need.count]

    def _usable(self, free: Sequence[Sequence[str]], limit: float) -> list[list[str]]:
        barred = frozenset[str]().union(*(line.kept.devices for line in self._lines if self._bars(line.kept, limit)))
        return [[one for one in there if one not in barred] for there in free]

    def _choose(self, job: Waiting, known: _Class, free: Sequence[Sequence[str]], limit: float) -> tuple[str, ...]:
        """The first that will do, but rather such as are kept for nobody, and of GPUs those that are split already."""
        usable = self._usable(free, limit)
        counts = self._grown(job, usable) if job.size.gpus_most else [need.count for need in known.needs]
        chosen: list[str] = []
        for count, there in zip(counts, usable, strict=True):
            chosen += sorted(there, key=self._worth)[:count]
        return tuple(chosen)

    def _worth(self, device: str) -> tuple[bool, int]:
        return device in self._book.kept, -self._book.filled[whole(device)]

    def _grown(self, job: Waiting, usable: Sequence[Sequence[str]]) -> list[int]:
        """As many GPUs, up to the most it wants, as are there and its user may hold; each with its part of the CPUs."""
        size, holding = job.size, self._holding(job.who.user)
        gpus = min(size.gpus_most, len(usable[0]), holding.left("GPU"))
        cpus = min(size.cpus * gpus // size.gpus, len(usable[1]), holding.left("CPU"))
        return [int(gpus), int(cpus)]

    def _start(self, job: Waiting, devices: tuple[str, ...]) -> None:
        now = self._snapshot.now
        starts = Running(
            who=job.who, priority=job.priority, devices=devices, since=now, time_s=job.time_s, lasts=job.lasts
        )
        self.decisions.starts[job.who.job_id] = devices
        self._started.append(starts)
        self._book.take(starts)
        self._hold(starts)

    def _behind(self, job: Waiting, known: _Class) -> Reason:
        if known.kept:
            return known.kept
        assert known.line  # it failed before
        reason = sentences.behind(known.awaits, known.line.last)
        known.line.last = job.who
        return reason

    def _head(self, job: Waiting, known: _Class, short: Sequence[Need]) -> Reason:
        """It is the first to wait for these devices."""
        now, zone = self._snapshot.now, self._snapshot.zone
        self._make_way(job, known)
        kept = self._book.reserve(job.who, known.needs)
        self._book.give(kept, job.time_s)
        contested = self._book.with_beside([device for need in short for device in need.devices])
        known.line = _Line(contested=contested, kept=kept, last=job.who)
        known.awaits = " and ".join(f"{need.kind}s" for need in short)
        self._lines.append(known.line)
        going = [one for one in self._snapshot.running if one.makes_way or one.who.job_id in self._victims]
        going = [one for one in going if not kept.devices.isdisjoint(one.devices)]
        if not going:
            return sentences.lacking(short, self._book.holders, self._book.leases, now, zone)
        return sentences.preempting([one for job in going for one in job.devices if one in kept.devices], going)

    def _make_way(self, job: Waiting, known: _Class) -> None:
        """Choose who is to be stopped for it, unless those that stop already, or end soon, will do."""
        book, now = self._book, self._snapshot.now
        missing = [
            Lack(
                count=need.count - sum(book.surely[one] <= now for one in there),
                held=Counter(book.blockers(one) for one in there if book.surely[one] > now),
            )
            for need in known.needs
            for there in [[one for one in need.devices if one not in book.kept]]
        ]
        lacks = [lack for lack in missing if lack.count > 0]
        place = rank(job, self.decisions.standings)
        chosen = victims(lacks, (one for one in self._snapshot.running if self._may_stop(one, job.priority, place)))
        longest = max((one.grace_s or 0.0 for one in chosen), default=0.0)
        if not chosen or book.reserve(job.who, known.needs).at <= now + longest:
            return
        for one in chosen:
            self._victims[one.who.job_id] = one
            self.decisions.preempts[one.who.job_id] = job.who.job_id
            book.clear(one)

    def _may_stop(self, one: Running, priority: int, place: tuple[int, str]) -> bool:
        """Of lower priority; and not one that would stand before it in line, and take its devices back."""
        if one.stops or one.grace_s is None or one.who.job_id in self._victims:
            return False
        return one.priority < priority and place < rank(one, self.decisions.standings)

    def _holding(self, user: str) -> _Holding:
        if (holding := self._holdings.get(user)) is None:
            holding = self._holdings[user] = _Holding(quota=quota_of(user, self._snapshot.quotas))
        return holding

    def _hold(self, job: Running) -> None:
        counts = self._holding(job.who.user).counts
        gpus, cpus = count_of(job.devices)
        counts["GPU"] += gpus
        counts["CPU"] += cpus


def _shares(snapshot: Snapshot) -> set[int]:
    """In how many parts GPUs are split, or would be."""
    held = {split_of(device) for job in snapshot.running for device in job.devices if "/" in device}
    return held | {job.size.share for job in snapshot.waiting}


def _impossible(size: Size, machine: Machine) -> Reason | None:
    try:
        refuse_impossible(size, machine)
    except PlacementError as error:  # the machine shrank since the submit; nobody else need wait for that
        return Reason(code=ReasonCode.IMPOSSIBLE, text=f"cannot start: {error}")
    return None
