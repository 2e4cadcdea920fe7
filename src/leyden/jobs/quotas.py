"""How much may a user hold at a time, and how much do they hold and use?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from leyden.core.devices import count_of
from leyden.core.errors import SpecError
from leyden.jobs.snapshot import Quota
from leyden.jobs.tables import jobs, leases, quotas
from leyden.jobs.usage import load_usage, spent

EVERYBODY: Final = "*"  # who has no quota of their own
_ALL: Final = select(quotas)


@dataclass(frozen=True, kw_only=True)
class Use:
    """Of one user. `used_s` counts device-seconds, halved every day; `share` is their part of what all have used."""

    gpus: float = 0  # held now; 1.25 with a quarter of one
    cpus: int = 0
    used_s: float = 0.0
    share: float = 0.0


def set_quota(connection: Connection, user: str, quota: Quota) -> None:
    """From now on; what runs already goes on. Raises SpecError for a quota below 0."""
    for what, most in (("GPUs", quota.gpus), ("CPUs", quota.cpus)):
        if most is not None and most < 0:
            raise SpecError(
                asked=f"a quota of {what}", found=f"found {most}", do="Give 0 or more, or none for no limit."
            )
    delete_quota(connection, user)
    connection.execute(insert(quotas), {"user": user, "gpus": quota.gpus, "cpus": quota.cpus})


def delete_quota(connection: Connection, user: str) -> bool:
    """The user has the quota of everybody again; False where they had none of their own."""
    return connection.execute(delete(quotas).where(quotas.c.user == user)).rowcount > 0


def all_quotas(connection: Connection) -> dict[str, Quota]:
    """By user; "*" stands for everybody who is not named."""
    return {row.user: Quota(gpus=row.gpus, cpus=row.cpus) for row in connection.execute(_ALL)}


def quota_of(user: str, known: Mapping[str, Quota]) -> Quota:
    """The user's own, else everybody's, else no limit."""
    return known.get(user) or known.get(EVERYBODY) or Quota()


def usage_of(connection: Connection, now: float) -> dict[str, Use]:
    """Of every user who has used anything of late."""
    used = load_usage(connection, now=now)
    columns = (jobs.c.user, leases.c.attempt_uid, leases.c.acquired_at, leases.c.device)
    query = select(*columns).join(jobs, jobs.c.id == leases.c.job_id).where(leases.c.released_at.is_(None))
    attempts: dict[tuple[str, str, float], list[str]] = {}
    for user, uid, since, device in connection.execute(query):
        attempts.setdefault((user, uid, since), []).append(device)
    held: dict[str, list[str]] = {}
    for (user, _, since), devices in attempts.items():
        held.setdefault(user, []).extend(devices)
        used[user] = used.get(user, 0.0) + spent(devices, since, now)
    total = sum(used.values()) or 1.0
    return {user: _use(held.get(user, []), used_s, total) for user, used_s in sorted(used.items())}


def _use(devices: Sequence[str], used_s: float, total: float) -> Use:
    gpus, cpus = count_of(devices)
    return Use(gpus=gpus, cpus=cpus, used_s=used_s, share=used_s / total)
