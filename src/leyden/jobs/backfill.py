"""Which later jobs may go first? Those that leave the first in line its devices at its time.

The first in line that cannot start gets a reservation: devices, and when they will be free. Where nobody declared how
long they hold them that time is not known, and others may use the devices only as long as such holders run in any
case, as far as history says. Neither limit moves on with time, so whoever is first in line starts (ADR 0009).

A GPU is held whole or in parts of one split. So who holds, or is kept, one of these names is taken to hold all that
cannot be held beside it: the whole GPU is free when the last of its parts is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import final

from leyden.core.devices import parts, split_of, whole
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

    def __init__(self, devices: Iterable[str], now: float, shares: Iterable[int] = ()) -> None:
        """`shares`: in how many parts anybody holds, or wants, a GPU."""
        self.now = now
        splits = sorted({1, *shares})
        self._names = {
            one: {share: frozenset(parts(one, share)) for share in splits}
            for one in devices
            if len(splits) > 1 and one.startswith("gpu:")
        }
        names = [name for one in devices for split in self._names.get(one, {1: (one,)}).values() for name in split]
        self.surely = dict.fromkeys(names, now)  # at the latest; inf where nobody knows
        self.likely = dict(self.surely)  # not before, as far as one knows
        self.leases: dict[str, Running] = {}  # as they are on record
        self.holders: dict[str, Running] = {}  # also of what cannot be held beside these
        self.filled = Counter[str]()  # how many parts of a GPU are held
        self.kept: set[str] = set()
        self._beside: dict[tuple[str, int], frozenset[str]] = {}

    def take(self, job: Running) -> None:
        """The job holds its devices."""
        end = inf if job.time_s is None else max(self.now, job.since + job.time_s)
        soon = job.since + job.lasts.low if job.lasts else self.now
        for device in job.devices:
            self.leases[device] = self.holders[device] = job
            self.surely[device] = self.now if job.stops else end
            self.likely[device] = self.now if job.stops else min(end, max(self.now, soon))
            if beside := self.beside(device):
                self.filled[whole(device)] += split_of(device) > 1
                self._spread(device, beside)

    def clear(self, job: Running) -> None:
        """The job is asked to stop."""
        for device in job.devices:
            if device not in self.kept:
                self.surely[device] = self.likely[device] = self.now
                if beside := self.beside(device):
                    self._spread(device, beside - self.kept)

    def beside(self, device: str) -> frozenset[str]:
        """What cannot be held together with it, itself aside."""
        if (splits := self._names.get(whole(device))) is None:
            return frozenset()
        key = whole(device), split_of(device)
        if (known := self._beside.get(key)) is None:
            others = (names for share, names in splits.items() if share != key[1])
            known = self._beside[key] = frozenset[str]().union(*others)
        return known

    def with_beside(self, devices: Sequence[str]) -> frozenset[str]:
        """They, and what cannot be held together with one of them."""
        return frozenset(devices).union(*map(self.beside, devices)) if self._names else frozenset(devices)

    def blockers(self, device: str) -> frozenset[str]:
        """The jobs that have to end before it is free."""
        leases = self.leases.keys() & {device, *self.beside(device)}
        return frozenset(self.leases[one].who.job_id for one in leases if self.surely[one] > self.now)

    def reserve(self, who: Who, needs: Sequence[Need]) -> Reservation:
        """The devices that are all free first; of these not such as are free now, so that others may use them."""
        at = max(sorted(self.surely[device] for device in need.devices)[need.count - 1] for need in needs)
        chosen = self._known(needs, at) if at < inf else self._unknown(needs)
        until = at if at < inf else max(self.likely[device] for device in chosen)
        return Reservation(who=who, devices=self.with_beside(chosen), at=at, until=until)

    def give(self, kept: Reservation, time_s: float | None) -> None:
        """Nobody after it counts on these devices."""
        self.kept |= kept.devices
        end = inf if time_s is None else kept.at + time_s
        for device in kept.devices:
            self.surely[device] = max(end, self.surely[device])

    def _spread(self, device: str, beside: Iterable[str]) -> None:
        """What cannot be held beside these parts is free with the last of them, and held by who has that one.

        Where nobody knows when they end it is the one that began last: `_unknown` chooses by that.
        """
        held = [one for one in parts(whole(device), split_of(device)) if one in self.leases]
        last = max(held, key=lambda one: (self.surely[one], self.leases[one].since, self.leases[one].who.job_id))
        self.holders |= dict.fromkeys(beside, self.leases[last])
        self.surely |= dict.fromkeys(beside, self.surely[last])
        self.likely |= dict.fromkeys(beside, max(self.likely[one] for one in held))

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
