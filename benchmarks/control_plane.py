"""What does the control plane cost?

    python benchmarks/control_plane.py --parts pass

`pass`: one pass of the scheduler over a machine with 8 GPUs and 64 CPUs, all held, and jobs of eight users that wait:
0 to 8 GPUs, three priorities, half of them with a declared time, 500 names with a history. Loaded from SQLite, decided,
all with their reasons and estimates. Medians of several passes.

`submit`: a real server. One job a request, one after the other, with its commit to disk; then a thousand a request. All
of them held, so that nothing runs beside it.

`recovery`: the server is killed with SIGKILL while jobs run and others wait, and started again: when does it answer,
and when has it found every job it knew, with the same processes?
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection, insert

from leyden.client import embedded
from leyden.client.api import Client
from leyden.client.transport import Transport
from leyden.core.home import Home
from leyden.core.ids import new_id
from leyden.core.job import Job, make_job
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


def submits(given: argparse.Namespace) -> None:
    """Over HTTP."""
    with _server() as (_, client):
        script = {"command": ["true"], "hold": True}
        one = partial(client.submit, make_job(script), code="", cwd="/", submit_dir="/", environ=ENVIRON, user="ada")
        singles = sorted(_took(one) for _ in range(300))
        body = {"jobs": [script] * 1000, "cwd": "/", "environ": ENVIRON, "user": "ada"}
        transport = Transport(client.endpoint, timeout_s=120)
        batches = [
            _took(partial(transport.json, "POST", "/api/jobs/batch", body={**body, "key": f"the-batch-{number}"}))
            for number in range(given.rounds)
        ]
        assert len(client.jobs(limit=10_000)) == 300 + 1000 * given.rounds
    print("\n## Submits over HTTP, each on disk before its answer\n")
    print("| | |\n| --- | --- |")
    print(f"| one a request, ms: median, p99 | {_ms(singles[150])}, {_ms(singles[297])} |")
    rates = sorted(1000 / seconds for seconds in batches)
    said = f"{statistics.median(rates):,.0f} ({rates[0]:,.0f}–{rates[-1]:,.0f})"
    print(f"| a thousand a request, jobs/s: median (least–most) | {said} |")


def recovery(given: argparse.Namespace) -> None:
    """After SIGKILL."""
    with _server() as (home, client):
        hold = make_job({"command": ["true"], "hold": True})
        runs = make_job({"command": ["sleep", "600"], "gpus": 1, "cpus": 1, "ranks": 1})
        submit = partial(client.submit, code="", cwd="/", submit_dir="/", environ=ENVIRON, user="ada")
        running = [submit(runs).id for _ in range(min(4, os.cpu_count() or 1))]
        for _ in range(200):
            submit(hold)
        before = {key: _pid(client, key) for key in running}
        answers, found, server = list[float](), list[float](), client
        for _ in range(given.rounds):
            os.kill(server.endpoint.pid or 0, signal.SIGKILL)
            begin = time.perf_counter()
            server = Client(embedded.start(home))
            answers.append(time.perf_counter() - begin)
            assert {key: _pid(server, key) for key in running} == before
            found.append(time.perf_counter() - begin)
        for key in running:
            server.cancel(key)
            server.wait(key)
    print(f"\n## A killed server, {len(running)} jobs running and 200 waiting\n")
    print("| | ms, median (most) |\n| --- | --- |")
    print(f"| until it answers again, its start included | {_ms(statistics.median(answers))} ({_ms(max(answers))}) |")
    said = f"{_ms(statistics.median(found))} ({_ms(max(found))})"
    print(f"| until every running job is known with the pid it had | {said} |")


def _pid(client: Client, job_id: str) -> int:
    while True:
        pid = client.job(job_id).attempts[-1].pid if client.job(job_id).attempts else None
        if pid:
            return pid
        time.sleep(0.01)


@contextmanager
def _server() -> Iterator[tuple[Home, Client]]:
    """A server with eight GPUs that are none, in a home of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder)).create()
        try:
            yield home, Client(embedded.start(home, options=["--fake-gpus", "8"]))
        finally:
            embedded.stop(home)


ENVIRON = dict(os.environ)
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
PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"pass": passes, "submit": submits, "recovery": recovery}

if __name__ == "__main__":
    main()
