"""How long does a pass of the scheduler take, alone and with all that goes on record?

Load: the snapshot, out of the database. Decide: who starts, and of everybody else why not, behind whom, until when.
A tick is what the server does once something has changed: it notices, loads, decides, and writes what is new.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import count

from benchmarks.control.common import Asked, both, half, ms, took
from benchmarks.control.databases import POSTGRES, databases
from benchmarks.control.queues import HISTORY, MACHINE, NOW, QUEUES, row

from leyden.jobs import life
from leyden.jobs.placing import Placing, uncollected
from leyden.jobs.queue import load_snapshot
from leyden.jobs.schedule import decide
from leyden.jobs.store import Store

ISSUE_MS, ISSUE_PENDING = 200, 10_000  # what was asked for


def passes(asked: Asked) -> None:
    """Of the scheduler."""
    asked.title("A pass over the queue, and a whole tick of the server, ms")
    asked.say("Plain: 8 users, 3 priorities. Mixed: 40 users with quotas, 101 priorities, 100 sizes, a fifth elastic,")
    asked.say(
        "jobs after jobs, tries that wait, holders that may be preempted. The machine is held; half declare a time."
    )
    asked.say("A tick after a submit notices it, loads, decides, writes what is new; the first writes 5,000 reasons.\n")
    columns = ("load", "decide", "pass: p50", "p90", "tick after a submit: p50", "p90", "first tick", "nothing new")
    asked.head("queue", "jobs that wait", *columns)
    with databases() as kinds:
        for pending in asked.pending:
            for queue in QUEUES:
                for name, make in kinds.items():
                    if name != POSTGRES or pending == ISSUE_PENDING:
                        asked.row(f"{queue}, {name}", f"{pending:,}", *_measured(asked, make, queue, pending))


def _measured(asked: Asked, make: Callable[[], str], queue: str, pending: int) -> tuple[str, ...]:
    rounds = asked.rounds if pending <= ISSUE_PENDING else max(3, asked.rounds // 2)
    store = Store(make())
    try:
        QUEUES[queue](store, pending)
        pairs = [_pass(store) for _ in range(rounds)]
        loads, decides = zip(*pairs, strict=True)
        # A timer that jumps: after a pass over more than 10,000 jobs the server rests for as long, which is no cost.
        placing = Placing(store=store, machine=MACHINE, clock=lambda: NOW, timer=partial(next, count(step=1000.0)))
        first = took(placing.step)
        assert placing.last
        store.write(partial(life.explain, reasons=placing.last[1].reasons))  # what takes it twenty more at 100,000
        for _ in range(2):
            placing.step()
        ticks = [_tick(store, placing, seed) for seed in range(rounds)]
        idle = statistics.median(took(placing.step) for _ in range(rounds))
        assert not placing.last[1].starts
        total = both([sum(pair) for pair in pairs])
        return (ms(half(loads)), ms(half(decides)), *total, *both(ticks), ms(first), ms(idle))
    finally:
        store.close()


def _pass(store: Store) -> tuple[float, float]:
    """Seconds to load and to decide."""
    load = partial(load_snapshot, machine=MACHINE, now=NOW, history=HISTORY)
    with uncollected():
        begin = time.perf_counter()
        snapshot = store.read(load)
        loaded = time.perf_counter()
        decisions = decide(snapshot)
        end = time.perf_counter()
    assert len(decisions.reasons) == len(snapshot.waiting)
    return loaded - begin, end - loaded


def _tick(store: Store, placing: Placing, seed: int) -> float:
    """A job more, anywhere in the line."""
    rng = random.Random(seed)
    one = row(rng, user="user3", gpus=1, cpus=8, priority=rng.randrange(101), time_s=3600.0)
    store.write(partial(life.submit, job=one))
    return took(placing.step)
