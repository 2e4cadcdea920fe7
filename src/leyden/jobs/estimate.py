"""When will those who wait start? Everybody takes, in turn, the devices that are free first.

Done twice: once where all end as early as such jobs do and everybody fills gaps, once where all end as late as they
may and nobody does. Where somebody ahead may hold a device for any time, nothing is said. A quota is as many places
of its user's own, and a job that comes after another starts when that has ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import final

from leyden.engines.base import Machine
from leyden.jobs.placement import Size
from leyden.jobs.quotas import quota_of
from leyden.jobs.snapshot import Interval, Quota, Running, Waiting

STOPS_S = 30.0  # a job that has been asked to end is taken to need that long


def expected(
    machine: Machine, running: Sequence[Running], line: Iterable[Waiting], now: float, quotas: Mapping[str, Quota]
) -> dict[str, Interval]:
    """Start times of those who wait, first to last, as far as they can be said."""
    ends = [(job, _end(job, now)) for job in running]
    soon = _Plan(machine, [(job, end.low) for job, end in ends], now, quotas, fills_gaps=True)
    late = _Plan(machine, [(job, end.high) for job, end in ends], now, quotas, fills_gaps=False)
    times: dict[str, Interval] = {}
    for job in line:
        least, most = _lasting(job)
        high = late.add(job, most)
        if high == late.cpus[0] == inf:
            break  # of nobody after it anything can be said
        low = soon.add(job, least)
        if high < inf:
            times[job.who.job_id] = Interval(low=low if low < high else high, high=high)
    return times


def _lasting(job: Waiting | Running) -> tuple[float, float]:
    """As such jobs lasted before, and no longer than it declares."""
    most = inf if job.time_s is None else job.time_s
    if job.lasts is None:
        return 0.0, most
    low, high = job.lasts.low, job.lasts.high
    return low if low < most else most, high if high < most else most


def _end(job: Running, now: float) -> Interval:
    if job.stops:
        return Interval(low=now, high=now + STOPS_S)
    low, high = _lasting(job)
    elapsed = now - job.since
    if elapsed > high:  # longer than most of its like: it may take as long again, but not longer than declared
        high = elapsed * 2 if job.time_s is None else min(elapsed * 2, max(elapsed, job.time_s))
    return Interval(low=max(now, job.since + low), high=max(now, job.since + high))


@final
class _Plan:
    """The times at which devices of each kind become free, sorted."""

    def __init__(
        self,
        machine: Machine,
        running: Iterable[tuple[Running, float]],
        now: float,
        quotas: Mapping[str, Quota],
        *,
        fills_gaps: bool,
    ) -> None:
        ends = {device: end for job, end in running for device in job.devices}
        self.cpus = sorted(ends.get(f"cpu:{number}", now) for number in range(machine.cpus))
        self._gpus: dict[tuple[str, int], list[float]] = {}
        self._alike = {gpu.device: (gpu.name, gpu.memory_bytes) for gpu in machine.gpus}
        for device, alike in self._alike.items():
            self._gpus.setdefault(alike, []).append(ends.get(device, now))
        for times in self._gpus.values():
            times.sort()
        self._fitting: dict[Size, list[list[float]]] = {}
        self._machine = machine
        self._all = list(self._gpus.values())
        self._fills_gaps = fills_gaps
        self._now = now
        self._ends = {job.who.job_id: end for job, end in running}
        self._quotas, self._running = quotas, running
        self._places: dict[str, list[tuple[str, list[float]]]] = {}  # by user: when each of a quota is free

    def add(self, job: Waiting, lasts_s: float) -> float:
        """When the job starts; its devices are free again when it has ended."""
        size, left = job.size, job.size.gpus
        start = self.cpus[size.cpus - 1] if size.cpus else self.cpus[0]
        gpus = self._taken(size) if left else []
        if gpus:
            free = gpus[0] if len(gpus) == 1 else sorted(time for times in gpus for time in times)
            start = max(start, free[left - 1])
        if job.not_before is not None or job.after or self._quotas:
            start = max(start, self._may(job))
            if start == inf:  # it holds nothing up
                return inf
        end = start + lasts_s
        self._occupy(self.cpus, size.cpus, start, end)
        for times in gpus:
            left -= self._occupy(times, left, start, end)
        for kind, places in self._places.get(job.who.user, ()):
            self._occupy(places, size.gpus if kind == "gpu" else size.cpus, start, end)
        self._ends[job.who.job_id] = end
        return start

    def _may(self, job: Waiting) -> float:
        """When it may start, whatever is free."""
        at = max((self._ends.get(key, inf) for key in job.after), default=job.not_before or self._now)
        for kind, places in self._places_of(job.who.user):
            if count := job.size.gpus if kind == "gpu" else job.size.cpus:
                at = max(at, places[count - 1] if count <= len(places) else inf)
        return at

    def _places_of(self, user: str) -> list[tuple[str, list[float]]]:
        if (known := self._places.get(user)) is None:
            quota = quota_of(user, self._quotas)
            known = self._places[user] = [
                (kind, self._free_at(user, kind, most))
                for kind, most in (("gpu", quota.gpus), ("cpu", quota.cpus))
                if most is not None
            ]
        return known

    def _free_at(self, user: str, kind: str, most: int) -> list[float]:
        theirs = [(job.devices, end) for job, end in self._running if job.who.user == user]
        held = sorted(end for devices, end in theirs for device in devices if device.startswith(kind))
        return [self._now] * (most - len(held)) + held[max(0, len(held) - most) :]

    def _taken(self, size: Size) -> list[list[float]]:
        if len(self._all) == 1:  # to look the size up is to hash it, a third of the estimate
            return self._all
        if (known := self._fitting.get(size)) is None:
            alike = dict.fromkeys(self._alike[gpu.device] for gpu in self._machine.gpus if size.takes(gpu))
            known = self._fitting[size] = [self._gpus[one] for one in alike]
        return known

    def _occupy(self, times: list[float], count: int, start: float, end: float) -> int:
        """Let that many devices free by `start` be free again at `end`; how many there were."""
        there = bisect_right(times, start)
        count = min(count, there)
        first = there - count if self._fills_gaps else 0
        del times[first : first + count]
        at = bisect_right(times, end)
        times[at:at] = [end] * count
        return count
