"""Which running jobs make way for one of higher priority? The cheapest that free enough, and none beyond need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leyden.jobs.snapshot import Running


@dataclass(frozen=True, kw_only=True, slots=True)
class Lack:
    """So many more devices, of which so many come free when all of these jobs end."""

    count: int
    held: Mapping[frozenset[str], int]


def victims(lacks: Sequence[Lack], candidates: Iterable[Running]) -> list[Running]:
    """Lowest priority first, then fewest devices, then those that lose least time; none where all are not enough."""
    cheapest = sorted(candidates, key=lambda one: (one.priority, len(one.devices), -one.since, one.who.job_id))
    chosen: list[Running] = []
    for one in cheapest:
        if enough(lacks, chosen):
            break
        lacking = (lack for lack in lacks if not enough([lack], chosen))
        if any(one.who.job_id in holders for lack in lacking for holders in lack.held):
            chosen.append(one)
    if not enough(lacks, chosen):
        return []
    for one in reversed(list(chosen)):  # the dearest may have made cheaper ones needless, and these it
        rest = [other for other in chosen if other is not one]
        if enough(lacks, rest):
            chosen = rest
    return chosen


def enough(lacks: Sequence[Lack], jobs: Sequence[Running]) -> bool:
    """Whether what comes free with them makes up for it."""
    ids = {job.who.job_id for job in jobs}
    return all(sum(count for who, count in lack.held.items() if who <= ids) >= lack.count for lack in lacks)
