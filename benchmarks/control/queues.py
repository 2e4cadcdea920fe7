"""Which queues are passes of the scheduler measured on? A plain one, and one of everything that can be asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy import Connection, insert

from leyden.core.ids import new_id
from leyden.core.job import Job
from leyden.core.states import State
from leyden.engines.base import Gpu, Machine
from leyden.jobs import life
from leyden.jobs.history import History
from leyden.jobs.quotas import set_quota
from leyden.jobs.rows import JobRow
from leyden.jobs.snapshot import Interval, Quota
from leyden.jobs.store import Store
from leyden.jobs.tables import jobs

GPUS = tuple(Gpu(index=index, name="NVIDIA A100-SXM4-80GB", memory_bytes=85_000_000_000) for index in range(8))
MACHINE = Machine(node="n", cpus=64, memory_bytes=512_000_000_000, gpus=GPUS)
NOW = 100_000.0
SPEC = Job(command=("true",)).model_dump_json()
FEW: Final = [f"user{number}" for number in range(8)]
MANY: Final = [f"user{number}" for number in range(40)]
HISTORY = History(
    by_name={(user, f"train-{number}"): Interval(low=600.0, high=7200.0) for user in MANY for number in range(500)}
)


def plain(store: Store, pending: int) -> None:
    """The machine is held; jobs of eight users, three priorities, half of them with a declared time."""
    _hold_all(store)
    rng = random.Random(0)
    rows = []
    for _ in range(pending):
        gpus = rng.choice([0, 1, 1, 1, 2, 4, 8])
        time_s = rng.choice([None, float(rng.randrange(60, 90_000))])
        rows.append(row(rng, user=rng.choice(FEW), gpus=gpus, cpus=max(4, 8 * gpus), time_s=time_s))
    _put(store, rows)


def mixed(store: Store, pending: int) -> None:
    """Forty users, all with a quota, every priority, 100 sizes, a fifth after other jobs, some tried again later.

    A fifth is elastic; half of the holders may be preempted.
    """
    _hold_all(store)
    rng = random.Random(1)
    rows: list[JobRow] = []
    for _ in range(pending):
        gpus = rng.choice([0, 1, 1, 1, 2, 3, 4, 5, 6, 8])
        after = tuple(one.id for one in rng.sample(rows[-50:], min(len(rows), 2))) if rng.random() < 0.2 else ()
        one = row(
            rng,
            user=MANY[min(39, int(rng.expovariate(0.15)))],
            gpus=gpus,
            gpus_most=8 if 0 < gpus < 5 and rng.random() < 0.3 else 0,
            cpus=rng.choice([1, 2, 4, 8, 16, 64]),
            priority=rng.randrange(101),
            time_s=rng.choice([None, float(rng.randrange(60, 90_000))]),
            after=after,
            not_before=NOW + 60.0 if rng.random() < 0.05 else None,
            preempt_grace_s=rng.choice([None, 30.0]),
        )
        rows.append(one)
    _put(store, rows)
    for number in range(20):
        store.write(partial(set_quota, user=f"user{number}", quota=Quota(gpus=number % 5)))
    store.write(partial(set_quota, user="*", quota=Quota(gpus=6, cpus=48)))


QUEUES: dict[str, Callable[[Store, int], None]] = {"plain": plain, "mixed": mixed}


def row(
    rng: random.Random,
    *,
    user: str,
    gpus: int,
    cpus: int,
    gpus_most: int = 0,
    time_s: float | None = None,
    priority: int | None = None,
    after: tuple[str, ...] = (),
    not_before: float | None = None,
    preempt_grace_s: float | None = None,
) -> JobRow:
    """A job of one of 500 names."""
    job_id = new_id()
    return JobRow(
        id=job_id,
        key=job_id,
        version=1,
        state=State.QUEUED,
        reason="",
        name=f"train-{rng.randrange(500)}",
        user=user,
        priority=rng.choice([20, 50, 50, 50, 80]) if priority is None else priority,
        spec=SPEC,
        code="",
        cwd="/",
        submit_dir="/",
        gpus=gpus,
        gpus_most=gpus_most,
        gpu_model="",
        gpu_memory_bytes=0,
        cpus=cpus,
        ranks=max(1, gpus),
        attempt=0,
        fence=0,
        created_at=NOW,
        time_s=time_s,
        after=after,
        not_before=not_before,
        preempt_grace_s=preempt_grace_s,
    )


def _hold_all(store: Store) -> None:
    rng = random.Random(2)
    for index in range(8):
        grace_s = 30.0 if index % 2 else None
        one = row(rng, gpus=1, cpus=8, user="holder", time_s=86_400.0, preempt_grace_s=grace_s)
        devices = [f"gpu:{index}", *(f"cpu:{number}" for number in range(8 * index, 8 * index + 8))]
        store.write(partial(life.submit, job=one))
        store.write(partial(life.admit, job_id=one.id, devices=devices, node="n", at=NOW - 600.0))


def _put(store: Store, rows: list[JobRow]) -> None:
    def put(connection: Connection) -> None:
        for begin in range(0, len(rows), 1000):
            connection.execute(insert(jobs), [one.columns() for one in rows[begin : begin + 1000]])

    store.write(put)
