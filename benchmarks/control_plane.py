"""What does the control plane cost?

    python benchmarks/control_plane.py --parts pass

`pass`: one pass of the scheduler over a machine with 8 GPUs and 64 CPUs, all held, and jobs of eight users that wait:
0 to 8 GPUs, three priorities, half of them with a declared time, 500 names with a history. Loaded from SQLite, decided,
all with their reasons and estimates. Medians of several passes.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, insert

from leyden.core.ids import new_id
from leyden.core.job import Job
from leyden.core.states import State
from leyden.engines.base import Gpu, Machine
from leyden.jobs import life
from leyden.jobs.history import History
from leyden.jobs.placing import Placing, uncollected
from leyden.jobs.queue import last_change, load_snapshot
from leyden.jobs.rows import JobRow
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Interval
from leyden.jobs.store import Store
from leyden.jobs.tables import jobs

GPUS = tuple(Gpu(index=index, name="NVIDIA A100-SXM4-80GB", memory_bytes=85_000_000_000) for index in range(8))
MACHINE = Machine(node="n", cpus=64, memory_bytes=512_000_000_000, gpus=GPUS)
NOW = 100_000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--pending", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print("# What does the control plane cost?\n")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"- {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {today}")
    print(f"- load before {os.getloadavg()[0]:.1f}; python benchmarks/control_plane.py --parts {' '.join(given.parts)}")
    for part in given.parts:
        PARTS[part](given)


def passes(given: argparse.Namespace) -> None:
    """Of the scheduler."""
    print("\n## One pass over the queue, ms\n")
    print(
        "| jobs that wait | load | decide | together (least) | CPU time | first reasons written | nothing has changed |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pending in given.pending:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "leyden.db")
            try:
                _fill(store, pending)
                print(f"| {pending:,} | {' | '.join(_measured(store, given.rounds))} |", flush=True)
            finally:
                store.close()


def _measured(store: Store, rounds: int) -> Iterator[str]:
    lasts = Interval(low=600.0, high=7200.0)
    history = History(by_name={(user, f"train-{number}"): lasts for user in USERS for number in range(500)})
    load = partial(load_snapshot, machine=MACHINE, now=NOW, history=history)
    loads, decides, used = [], [], []
    for _ in range(rounds):
        with uncollected():
            begin, cpu = time.perf_counter(), time.process_time()
            snapshot = store.read(load)
            loaded = time.perf_counter()
            decisions = decide(snapshot)
        loads.append(loaded - begin)
        decides.append(time.perf_counter() - loaded)
        used.append(time.process_time() - cpu)
    assert len(decisions.reasons) == len(snapshot.waiting)
    assert not decisions.starts
    both = [load_s + decide_s for load_s, decide_s in zip(loads, decides, strict=True)]
    yield from (_ms(statistics.median(loads)), _ms(statistics.median(decides)))
    yield f"{_ms(statistics.median(both))} ({_ms(min(both))})"
    yield _ms(statistics.median(used))
    write = partial(life.explain, reasons=dict(islice(decisions.reasons.items(), 5000)))
    yield _ms(_took(lambda: store.write(write)))
    placing = Placing(store=store, machine=MACHINE, clock=lambda: NOW)
    for _ in range(30):  # until every reason is on record
        placing.step()
    yield _ms(statistics.median(_took(placing.step) for _ in range(rounds)))


USERS = [f"user{number}" for number in range(8)]


def _fill(store: Store, pending: int) -> None:
    rng = random.Random(0)
    for index in range(8):  # who holds the machine
        row = _row(rng, gpus=1, user="holder", time_s=86_400.0)
        devices = [f"gpu:{index}", *(f"cpu:{number}" for number in range(8 * index, 8 * index + 8))]
        store.write(partial(life.submit, job=row))
        store.write(partial(life.admit, job_id=row.id, devices=devices, node="n", at=NOW - 600.0))
    rows = [
        _row(rng, gpus=rng.choice([0, 1, 1, 1, 2, 4, 8]), user=rng.choice(USERS), time_s=rng.choice([None, 0.0]))
        for _ in range(pending)
    ]

    def put(connection: Connection) -> None:
        for begin in range(0, pending, 1000):
            connection.execute(insert(jobs), [row.columns() for row in rows[begin : begin + 1000]])

    store.write(put)
    assert store.read(last_change)


def _row(rng: random.Random, *, gpus: int, user: str, time_s: float | None) -> JobRow:
    job_id = new_id()
    return JobRow(
        id=job_id,
        key=job_id,
        version=1,
        state=State.QUEUED,
        reason="",
        name=f"train-{rng.randrange(500)}",
        user=user,
        priority=rng.choice([20, 50, 50, 50, 80]),
        spec=SPEC,
        code="",
        cwd="/",
        submit_dir="/",
        gpus=gpus,
        gpu_model="",
        gpu_memory_bytes=0,
        cpus=max(4, 8 * gpus),
        ranks=max(1, gpus),
        attempt=0,
        fence=0,
        created_at=NOW,
        time_s=float(rng.randrange(60, 90_000)) if time_s == 0.0 else time_s,
    )


def _took(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


SPEC = Job(command=("true",)).model_dump_json()
PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"pass": passes}

if __name__ == "__main__":
    main()
