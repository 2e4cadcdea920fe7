"""Who stands where in line? Priority, moved by how much its user has used of late; then the order of submit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from leyden.jobs.snapshot import Running, Snapshot, Standing, Waiting
from leyden.jobs.usage import spent

POINTS: Final = 10  # of priority, for each time that the use doubles
MOST: Final = 20  # that fairness moves a job, so that priorities further apart than twice that are always kept
UNNOTICED_S: Final = 600.0  # device-seconds: what everybody is taken to have used, so that a first job moves nobody


def standings_of(snapshot: Snapshot) -> dict[str, Standing]:
    """Every user who has jobs now, beside the mean of them; what runs counts too."""
    users = [job.who.user for job in snapshot.running] + [job.who.user for job in snapshot.waiting]
    used = dict.fromkeys(users, UNNOTICED_S)
    for user in used:
        used[user] += snapshot.used.get(user, 0.0)
    for job in snapshot.running:
        used[job.who.user] += spent(job.devices, job.since, snapshot.now)
    fair = sum(used.values()) / max(1, len(used))
    return {user: _standing(each / fair) for user, each in used.items()}


def _standing(times: float) -> Standing:
    # Whole points: users who used nearly the same stand in order of submit, and the line does not change at each pass.
    points = -round(max(-MOST, min(MOST, POINTS * math.log2(times))))
    return Standing(times=times, points=points)


def rank(job: Waiting | Running, standings: Mapping[str, Standing]) -> tuple[int, str]:
    """Sorts jobs as they stand in line."""
    return -(job.priority + standings[job.who.user].points), job.who.job_id


def in_line(waiting: Sequence[Waiting], standings: Mapping[str, Standing]) -> list[Waiting]:
    """First to last."""
    points = {user: standing.points for user, standing in standings.items()}
    ordered = sorted(waiting, key=lambda job: job.who.job_id)
    return sorted(ordered, key=lambda job: -(job.priority + points[job.who.user]))


def describe(priority: int, standing: Standing) -> str:
    """In words, for `leyden why`.

    >>> describe(50, Standing(times=2.3, points=-12)), describe(50, Standing(times=1.0, points=0))
    ('priority 50, −12 for 2.3 times the fair share', 'priority 50')
    """
    if not standing.points:
        return f"priority {priority}"
    sign = "−" if standing.points < 0 else "+"
    return f"priority {priority}, {sign}{abs(standing.points)} for {standing.times:.2g} times the fair share"
