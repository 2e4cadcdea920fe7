"""How does one loader feed a consumer that is busy 20 ms a step? The program that is started for each measurement.

The consumer stands for a GPU: it copies the batch (as a copy to the device would) and then sleeps until 20 ms are over,
so that it takes no core from the loader. A wait is the time from the end of a step's 20 ms to the next batch in hand;
waking up late counts as waiting. CPU time is that of this process and all its descendants (/proc, dead ones included),
less what the consumer's own thread used within its 20 ms. Counting starts when the first batch is in hand.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.loader_peers.common import Batches, Task

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36


def descendants() -> dict[int, list[str]]:
    """The fields of /proc/PID/stat after the name, of every process below this one."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
    found: dict[int, list[str]] = {}
    ring = {os.getpid()}
    while ring:
        ring = {pid for pid, fields in stats.items() if int(fields[1]) in ring}
        found |= {pid: stats[pid] for pid in ring}
    return found


def cpu_s() -> float:
    """CPU seconds of this process, its living descendants and the dead ones they or it have waited for."""
    own, reaped = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(int(value) for fields in descendants().values() for value in fields[11:15])
    return own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime + ticks * TICK_S


def pss_mb() -> float:
    """Memory of this process and its descendants, shared pages divided among those that share them, MB."""
    total = 0
    for pid in (os.getpid(), *descendants()):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1000


@dataclass
class Consumer:
    """Takes batches and notes how long it waited for each."""

    busy_s: float
    waits_ms: list[float] = field(default_factory=list)
    boundary_ms: list[float] = field(default_factory=list)
    epoch_s: list[float] = field(default_factory=list)
    samples: int = 0
    own_cpu_s: float = 0.0
    free_from: float = 0.0  # when the last step's 20 ms were over
    copy: Any = None

    def epoch(self, batches: Batches) -> None:
        """One epoch; its first wait is the one at the boundary."""
        start, first = self.free_from, True
        for images, _ in batches:
            waited_ms = (time.perf_counter() - self.free_from) * 1e3
            (self.boundary_ms if first else self.waits_ms).append(waited_ms)
            first = False
            self.step(images)
        self.epoch_s.append(self.free_from - start)

    def step(self, images: Any) -> None:
        begin, cpu = time.perf_counter(), time.thread_time()
        self.samples += len(images)
        if self.copy is None:
            self.copy = images.clone()
        self.copy[: len(images)].copy_(images)
        if self.busy_s:
            time.sleep(max(0.0, begin + self.busy_s - time.perf_counter()))
        self.free_from = begin + self.busy_s if self.busy_s else time.perf_counter()
        self.own_cpu_s += time.thread_time() - cpu


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def measure(epochs: Iterator[Batches], made_at: float, args: argparse.Namespace) -> dict[str, Any]:
    """Throttled epochs, of which the first one's first batch only starts the clock, then epochs without a pause."""
    consumer = Consumer(busy_s=args.busy_ms / 1e3)
    batches = iter(next(epochs))
    images, labels = next(batches)
    first_batch_s = time.perf_counter() - made_at
    if tuple(images.shape[1:]) not in {(224, 224, 3), (3, 224, 224)} or len(labels) != len(images):
        raise ValueError(f"not a batch of crops: {tuple(images.shape)}")
    consumer.free_from = time.perf_counter()
    consumer.step(images)
    start, start_cpu = consumer.free_from, cpu_s()
    consumer.epoch(batches)
    consumer.waits_ms += consumer.boundary_ms  # of the first epoch: its second batch, within the epoch
    consumer.boundary_ms.clear()
    for later in islice(epochs, args.epochs - 1):
        consumer.epoch(later)
    wall, cpu = consumer.free_from - start, cpu_s() - start_cpu - consumer.own_cpu_s
    steps = len(consumer.waits_ms) + len(consumer.boundary_ms)
    found = {
        "first_batch_s": first_batch_s,
        "busy": steps * consumer.busy_s / wall,
        "samples_per_cpu_s": (consumer.samples - len(images)) / cpu,
        "samples_per_s": (consumer.samples - len(images)) / wall,
        "boundary_ms": consumer.boundary_ms,
        "wait_p50_ms": percentile(consumer.waits_ms, 0.5),
        "wait_p99_ms": percentile(consumer.waits_ms + consumer.boundary_ms, 0.99),
        "wait_max_ms": max(consumer.waits_ms),
        "epoch_s": consumer.epoch_s,
        "steps_an_epoch": (steps + 1) / args.epochs,
        "pss_mb": pss_mb(),
    }
    if args.free_epochs:
        consumer = Consumer(busy_s=0, copy=consumer.copy, free_from=time.perf_counter())
        start = time.perf_counter()
        for later in islice(epochs, args.free_epochs):
            consumer.epoch(later)
        found["free_samples_per_s"] = consumer.samples / (time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", help="of benchmarks.loader_peers")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--fused", action="store_true")
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--cache", type=Path, default=Path())
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--free-epochs", type=int, default=1)
    parser.add_argument("--busy-ms", type=float, default=20.0)
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of orphans stay countable
    begin = time.perf_counter()
    import torch

    torch.set_num_threads(1)
    peer = importlib.import_module(f"benchmarks.loader_peers.{args.module}")
    imports_s = time.perf_counter() - begin
    for path in args.data.rglob("*"):  # all of it in the page cache: this is not about the disk
        if path.is_file():
            path.read_bytes()
    task = Task(data=args.data, fused=args.fused, endpoint=args.endpoint, cache=args.cache, variant=args.variant)
    made_at = time.perf_counter()
    found = measure(peer.epochs(task), made_at, args)
    print(json.dumps({"imports_s": imports_s, **found}), flush=True)


if __name__ == "__main__":
    main()
