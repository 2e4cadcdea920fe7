"""One measurement in a process of its own: `measure.py WHAT PEER FOLDER` prints a line of JSON.

burst   log({10 metrics}) again and again for half a second, then `close`: what one costs the caller, points a
        second until all is kept, bytes on disk a point
paced   the same at 5 ms a step, as a training loop does
endless log for ever, 2 ms a step, each row with the time; killed by the parent
kept    how many rows are there
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.tracking_peers.peers import PEERS, Peer  # noqa: E402

BURST_S, PACED_STEPS, STEP_S, METRICS, FULL = 0.5, 300, 0.005, 10, 20_000

NAMES = tuple(f"m{number}" for number in range(METRICS))  # the same objects at each step, as in a script


def burst(peer: Peer) -> dict[str, Any]:
    """As fast as it goes, up to 20,000 rows: more would only measure memory."""
    peer.open()
    peer.log(_row(0), 0)
    spent, start, step = 0.0, time.perf_counter(), 1
    while step < FULL and time.perf_counter() - start < BURST_S:
        row = _row(step)
        before = time.perf_counter()
        peer.log(row, step)
        spent += time.perf_counter() - before
        step += 1
    peer.close()
    took = time.perf_counter() - start
    size_bytes = sum(one.stat().st_size for one in peer.folder.rglob("*") if one.is_file())
    return {
        "log_us": 1e6 * spent / (step - 1),
        "points_per_s": step * METRICS / took,
        "bytes_per_point": size_bytes / (step * METRICS),
        "rows": step,
        "missing": step - len(peer.steps()),
    }


def paced(peer: Peer) -> dict[str, Any]:
    """The mean and the 99th percentile of a call, and CPU time of the whole process a step beyond the loop's own."""
    peer.open()
    peer.log(_row(0), 0)
    calls: list[float] = []
    cpu = -time.process_time()
    for step in range(1, PACED_STEPS + 1):
        end = time.perf_counter() + STEP_S
        row = _row(step)
        before = time.perf_counter()
        peer.log(row, step)
        calls.append(time.perf_counter() - before)
        time.sleep(max(0.0, end - time.perf_counter()))
    cpu += time.process_time()
    start = time.perf_counter()
    peer.close()
    calls.sort()
    return {
        "log_us": 1e6 * sum(calls) / len(calls),
        "log_p50_us": 1e6 * calls[len(calls) // 2],
        "log_p99_us": 1e6 * calls[len(calls) * 99 // 100],
        "cpu_us": 1e6 * cpu / PACED_STEPS,
        "close_s": time.perf_counter() - start,
    }


def endless(peer: Peer) -> dict[str, Any]:
    """Until it is killed; says on stdout when it begins, and writes the newest step where the parent can read it."""
    peer.open()
    told = os.open(peer.folder.parent / "newest", os.O_RDWR | os.O_CREAT)
    step = 0
    while True:
        peer.log(_row(step), step)
        os.pwrite(told, b"%12d %20d" % (step, time.time_ns()), 0)
        step += 1
        time.sleep(0.002)


def kept(peer: Peer) -> dict[str, Any]:
    """How many rows there are, and the newest."""
    steps = peer.steps()
    return {"rows": len(steps), "newest": max(steps, default=-1)}


def _row(step: int) -> dict[str, float]:
    return {name: step + number / 8 for number, name in enumerate(NAMES)}


if __name__ == "__main__":
    what, name, folder = sys.argv[1:]
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    found = {"burst": burst, "paced": paced, "endless": endless, "kept": kept}[what](PEERS[name][0](place))
    print("\n" + json.dumps(found), flush=True)
