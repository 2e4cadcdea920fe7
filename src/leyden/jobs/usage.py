"""Who has used how much of late? Device-seconds a user, halved every day, so that yesterday counts half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from leyden.core.devices import count_of
from leyden.jobs.rows import AttemptRow, JobRow
from leyden.jobs.statements import change
from leyden.jobs.tables import usage

HALF_LIFE_S: Final = 86_400.0
_ALL: Final = select(usage)
_OF_ONE: Final = _ALL.where(usage.c.user == bindparam("wanted"))
CPUS_OF_A_GPU: Final = 8  # as machines are built; where there is no GPU it is but a unit


def decayed(device_s: float, age_s: float) -> float:
    """What is left of it after that long.

    >>> decayed(100.0, 2 * HALF_LIFE_S)
    25.0
    """
    return float(device_s * 0.5 ** (max(0.0, age_s) / HALF_LIFE_S))


def device_count(gpus: float, cpus: int) -> float:
    """What a job is charged for: its GPUs, or an eighth of its CPUs where that is more.

    >>> device_count(2, 4), device_count(0, 4), device_count(1, 64)
    (2, 0.5, 8.0)
    """
    return max(gpus, cpus / CPUS_OF_A_GPU)


def spent(devices: Sequence[str], since: float, until: float) -> float:
    """Device-seconds of an attempt.

    >>> spent(["gpu:0", "gpu:1", "cpu:0"], 10.0, 15.0)
    10.0
    >>> spent(["gpu:0/4.2", "cpu:0"], 10.0, 15.0)
    1.25
    """
    return device_count(*count_of(devices)) * max(0.0, until - since)


def charge(connection: Connection, job: JobRow, attempt: AttemptRow, *, until: float) -> None:
    """Add an attempt that has given its devices back."""
    added = spent(attempt.devices, attempt.created_at, until)
    before = connection.execute(_OF_ONE, {"wanted": job.user}).one_or_none()
    if before is None:
        connection.execute(insert(usage), {"user": job.user, "at": until, "device_s": added})
        return
    total = decayed(before.device_s, until - before.at) + added
    change(connection, usage, {"user": job.user}, {"at": until, "device_s": total})


def load_usage(connection: Connection, *, now: float) -> dict[str, float]:
    """Device-seconds by user, of attempts that have ended."""
    return {row.user: decayed(row.device_s, now - row.at) for row in connection.execute(_ALL)}
