"""Which later jobs may go first? Those that leave the first in line its devices at its time.

The first in line that cannot start gets a reservation: devices, and when they will be free. Where nobody declared how
long they hold them that time is not known, and others may use the devices only as long as such holders run in any
case, as far as history says. Neither limit moves on with time, so whoever is first in line starts (ADR 0009).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import final

from leyden.jobs.snapshot import Running, Who


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """So many of these devices."""

    kind: str  # "GPU" or "CPU"
    count: int
    devices: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """What is kept for a job."""

    who: Who
    devices: frozenset[str]
    at: float  # when all of them are free at the latest; inf where that is not known
    until: float  # who ends before may use them


@final
class Book:
    """When will each device be free? It changes as jobs are started and devices reserved."""

    def __init__(self, devices: Iterable[str], now: float) -> None:
        self.now = now
        self.surely = dict.fromkeys(devices, now)  # at the latest; inf where nobody knows
        self.likely = dict(self.surely)  # not before, as far as one knows
        self.holders: dict[str, Running] = {}
        self.kept: set[str] = set()

    def take(self, job: Running) -> None:
        """The job holds its devices."""
        end = inf if job.time_s is None else max(self.now, job.since + job.time_s)
        soon = job.since + job.lasts.low if job.lasts else self.now
        for device in job.devices:
            self.holders[device] = job
            self.surely[device] = self.now if job.stops else end
            self.likely[device] = self.now if job.stops else min(end, max(self.now, soon))

    def clear(self, job: Running) -> None:
        """The job is asked to stop."""
        for device in job.devices:
            if device not in self.kept:
                self.surely[device] = self.likely[device] = self.now

    def reserve(self, who: Who, needs: Sequence[Need]) -> Reservation:
        """The devices that are all free first; of these not such as are free now, so that others may use them."""
        at = max(sorted(self.surely[device] for device in need.devices)[need.count - 1] for need in needs)
        chosen = self._known(needs, at) if at < inf else self._unknown(needs)
        until = at if at < inf else max(self.likely[device] for device in chosen)
        return Reservation(who=who, devices=frozenset(chosen), at=at, until=until)

    def give(self, kept: Reservation, time_s: float | None) -> None:
        """Nobody after it counts on these devices."""
        self.kept |= kept.devices
        for device in kept.devices:
            self.surely[device] = inf if time_s is None else kept.at + time_s

    def _known(self, needs: Sequence[Need], at: float) -> list[str]:
        chosen: list[str] = []
        for need in needs:
            backwards = [device for device in need.devices[::-1] if self.surely[device] <= at]
            chosen += sorted(backwards, key=lambda device: -self.surely[device])[: need.count]
        return chosen

    def _unknown(self, needs: Sequence[Need]) -> list[str]:
        """Of holders that end nobody knows when as few as will do, and then all that comes free with them.

        The oldest are chosen, so that nobody ever waits for what began after it came to stand first.
        """
        chosen: list[str] = []
        ending: set[str] = set()
        for need in needs:
            for _ in range(2):  # first whose end has to be waited for, then what they leave, rather than what is free
                backwards = need.devices[::-1]
                best = sorted(backwards, key=lambda device: self._order(device, ending))[: need.count]
                holders = [self.holders[one] for one in best if self.surely[one] == inf and one in self.holders]
                ending |= {holder.who.job_id for holder in holders}
            chosen += best
        return chosen

    def _order(self, device: str, ending: set[str]) -> tuple[bool, float, float, str]:
        holder = self.holders.get(device)
        if holder is None:
            return True, self.surely[device], 0.0, ""
        return holder.who.job_id not in ending, self.surely[device], holder.since, holder.who.job_id
