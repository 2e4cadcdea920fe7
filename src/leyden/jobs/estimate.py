"""When will those who wait start? Everybody takes, in turn, the devices that are free first.

Done twice: once where all end as early as such jobs do and everybody fills gaps, once where all end as late as they
may and nobody does. Where somebody ahead may hold a device for any time, nothing is said. A quota is as many places
of its user's own, and a job that comes after another starts when that has ended. A GPU or place that is split is busy
until the last of its parts is free.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from operator import itemgetter
from typing import final

from leyden.core.devices import split_of, whole
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
class _Times(list[float]):
    """When devices of one kind become free, sorted; of some also when their parts do."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, times: Iterable[float], held: Iterable[tuple[int, list[float]]], now: float) -> None:
        """`held`: of GPUs that are split, in how many parts, and when those that are held become free."""
        self._ends: list[float] = []  # of each GPU that was ever split
        self._parts: dict[int, list[tuple[float, int, int]]] = {}  # by share: when, of which of these, so many parts
        for number, (share, ends) in enumerate(held):
            self._ends.append(max(ends))
            heap = self._parts.setdefault(share, [])
            heap += [(end, number, 1) for end in ends]
            if len(ends) < share:
                heap.append((now, number, share - len(ends)))
        super().__init__(sorted([*times, *self._ends]))
        for heap in self._parts.values():
            heapify(heap)

    def part_at(self, share: int) -> float:
        """When a part is free, of a GPU that is split so or that is not split."""
        heap = self._parts.get(share)
        while heap and not self._stands(heap[0][1]):
            heappop(heap)  # somebody else has that GPU after the others
        return min(heap[0][0] if heap else inf, self[0] if self else inf)

    def take_part(self, share: int, end: float) -> None:
        """From `part_at` on, which was asked just before; rather of one that is split already."""
        heap = self._parts.setdefault(share, [])
        if heap and heap[0][0] <= self[0]:
            at, number, count = heap[0]
            heapreplace(heap, (end, number, 1))
            if count > 1:
                heappush(heap, (at, number, count - 1))
            busy = self._ends[number]
            if end <= busy:
                return
            del self[bisect_left(self, busy)]
        else:
            number, busy = len(self._ends), self.pop(0)
            self._ends.append(busy)
            heappush(heap, (busy, number, share - 1))
            heappush(heap, (end, number, 1))
        self._ends[number] = max(end, busy)
        insort(self, self._ends[number])

    def _stands(self, number: int) -> bool:
        at = bisect_left(self, self._ends[number])
        return at < len(self) and self[at] == self._ends[number]


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
        split = _split(ends)
        self._alike = {gpu.device: (gpu.name, gpu.memory_bytes) for gpu in machine.gpus}
        alike: dict[tuple[str, int], list[str]] = {}
        for device, kind in self._alike.items():
            alike.setdefault(kind, []).append(device)
        self._gpus = {
            kind: _Times(
                (ends.get(one, now) for one in devices if one not in split),
                (split[one] for one in devices if one in split),
                now,
            )
            for kind, devices in alike.items()
        }
        self._fitting: dict[Size, list[_Times]] = {}
        self._machine = machine
        self._all = list(self._gpus.values())
        self._fills_gaps = fills_gaps
        self._now = now
        self._ends = {job.who.job_id: end for job, end in running}
        self._quotas, self._running = quotas, running
        self._places: dict[str, list[tuple[str, _Times]]] = {}  # by user: when each of a quota is free

    def add(self, job: Waiting, lasts_s: float) -> float:
        """When the job starts; its devices are free again when it has ended."""
        size, left = job.size, job.size.gpus
        start = self.cpus[size.cpus - 1] if size.cpus else self.cpus[0]
        gpus = self._taken(size) if left else []
        if gpus and size.share > 1:
            free_at, times = min(((times.part_at(size.share), times) for times in gpus), key=itemgetter(0))
            start, gpus = max(start, free_at), [times]
        elif gpus:
            free = gpus[0] if len(gpus) == 1 else sorted(time for times in gpus for time in times)
            start = max(start, free[left - 1])
        if job.not_before is not None or job.after or self._quotas:
            start = max(start, self._may(job))
            if start == inf:  # it holds nothing up
                return inf
        end = start + lasts_s
        self._occupy(self.cpus, size.cpus, start, end)
        for times in gpus:
            if size.share > 1:
                times.take_part(size.share, end)
            else:
                left -= self._occupy(times, left, start, end)
        for kind, places in self._places.get(job.who.user, ()):
            if kind == "gpu" and size.share > 1:
                places.take_part(size.share, end)
            else:
                self._occupy(places, size.gpus if kind == "gpu" else size.cpus, start, end)
        self._ends[job.who.job_id] = end
        return start

    def _may(self, job: Waiting) -> float:
        """When it may start, whatever is free."""
        at = max((self._ends.get(key, inf) for key in job.after), default=job.not_before or self._now)
        for kind, places in self._places_of(job.who.user):
            if kind == "gpu" and job.size.share > 1:
                at = max(at, places.part_at(job.size.share))
            elif count := job.size.gpus if kind == "gpu" else job.size.cpus:
                at = max(at, places[count - 1] if count <= len(places) else inf)
        return at

    def _places_of(self, user: str) -> list[tuple[str, _Times]]:
        if (known := self._places.get(user)) is None:
            quota = quota_of(user, self._quotas)
            known = self._places[user] = [
                (kind, self._free_at(user, kind, most))
                for kind, most in (("gpu", quota.gpus), ("cpu", quota.cpus))
                if most is not None
            ]
        return known

    def _free_at(self, user: str, kind: str, most: int) -> _Times:
        theirs = {
            device: end
            for job, end in self._running
            if job.who.user == user
            for device in job.devices
            if device.startswith(kind)
        }
        shared: dict[int, list[float]] = {}
        for device, end in theirs.items():
            if "/" in device:
                shared.setdefault(split_of(device), []).append(end)
        split = [
            (share, ends[first : first + share])
            for share, ends in shared.items()
            for first in range(0, len(ends), share)
        ][:most]
        held = sorted(end for device, end in theirs.items() if "/" not in device)
        free = most - len(held) - len(split)
        return _Times([self._now] * free + held[max(0, -free) :], split, self._now)

    def _taken(self, size: Size) -> list[_Times]:
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


def _split(ends: Mapping[str, float]) -> dict[str, tuple[int, list[float]]]:
    """Of each GPU that is split: in how many parts, and when those that are held become free."""
    found: dict[str, tuple[int, list[float]]] = {}
    for device, end in ends.items():
        if "/" in device:
            found.setdefault(whole(device), (split_of(device), []))[1].append(end)
    return found
