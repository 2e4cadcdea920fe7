"""Which running jobs make way for one of higher priority? The cheapest that free enough, and none beyond need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leyden.jobs.snapshot import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """So many more of these devices."""

    count: int
    devices: frozenset[str]


def victims(lacks: Sequence[Lack], candidates: Iterable[Running]) -> list[Running]:
    """Lowest priority first, then fewest devices, then those that lose least time; none where all are not enough."""
    cheapest = sorted(candidates, key=lambda one: (one.priority, len(one.devices), -one.since, one.who.job_id))
    chosen: list[Running] = []
    for one in cheapest:
        if enough(lacks, chosen):
            break
        if any(lack.devices.intersection(one.devices) for lack in lacks if not enough([lack], chosen)):
            chosen.append(one)
    if not enough(lacks, chosen):
        return []
    for one in reversed(list(chosen)):  # the dearest may have made cheaper ones needless, and these it
        rest = [other for other in chosen if other is not one]
        if enough(lacks, rest):
            chosen = rest
    return chosen


def enough(lacks: Sequence[Lack], jobs: Sequence[Running]) -> bool:
    """Whether their devices make up for it."""
    freed = {device for job in jobs for device in job.devices}
    return all(len(lack.devices & freed) >= lack.count for lack in lacks)
