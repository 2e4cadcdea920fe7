"""How long did jobs like this one hold their devices before?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Final, TypeVar

from sqlalchemy import Connection, select

from leyden.jobs.snapshot import Interval
from leyden.jobs.tables import attempts, jobs

K = TypeVar("K")
NEWEST: Final = 2000  # jobs looked at, so that the query takes 10 ms however long the history is
ENOUGH: Final = 4  # fewer say nothing


@dataclass(frozen=True, kw_only=True)
class History:
    """The middle half of how long they took: of a user's jobs of one name, of all of a user's, of all."""

    by_name: Mapping[tuple[str, str], Interval] = field(default_factory=dict)
    by_user: Mapping[str, Interval] = field(default_factory=dict)
    of_all: Interval | None = None

    def lasts(self, user: str, name: str) -> Interval | None:
        """What the nearest of these say; None where nothing is known."""
        return self.by_name.get((user, stem(name))) or self.by_user.get(user) or self.of_all


def stem(name: str) -> str:
    """What jobs of one kind have in common: trials of a sweep are numbered.

    >>> stem("train/12"), stem("train")
    ('train', 'train')
    """
    before, _, number = name.rpartition("/")
    return before if before and number.isdigit() else name


def load_history(connection: Connection) -> History:
    """From the last attempts of the jobs that ended last."""
    last = (attempts.c.job_id == jobs.c.id) & (attempts.c.number == jobs.c.attempt)
    query = (
        select(jobs.c.user, jobs.c.name, attempts.c.created_at, attempts.c.ended_at)
        .join(attempts, last)
        .where(jobs.c.ended_at.is_not(None) & attempts.c.ended_at.is_not(None))
        .order_by(jobs.c.ended_at.desc())
        .limit(NEWEST)
    )
    rows = [(user, name, max(0.0, ended - created)) for user, name, created, ended in connection.execute(query)]
    return History(
        by_name=_quartiles(((user, stem(name)), took) for user, name, took in rows),
        by_user=_quartiles((user, took) for user, _, took in rows),
        of_all=_quartiles((None, took) for _, _, took in rows).get(None),
    )


def _quartiles(rows: Iterable[tuple[K, float]]) -> dict[K, Interval]:
    groups: dict[K, list[float]] = {}
    for key, took in rows:
        groups.setdefault(key, []).append(took)
    return {key: _middle(times) for key, times in groups.items() if len(times) >= ENOUGH}


def _middle(times: list[float]) -> Interval:
    low, _, high = quantiles(times, n=4, method="inclusive")
    return Interval(low=low, high=high)
