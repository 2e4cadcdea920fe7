"""What could the machine do at best? Decoding on one core and copying memory, per second of CPU time."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.loader_peers.common import crop, files


def per_cpu_s(work: Callable[[], object], count: int, least_s: float) -> float:
    """How often per second of this process's CPU time, the best of five stretches."""
    best, deadline = 0.0, time.perf_counter() + least_s
    for stretch in range(100):
        begin = time.process_time()
        work()
        best = max(best, count / (time.process_time() - begin))
        if stretch >= 4 and time.perf_counter() > deadline:
            break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--least-s", type=float, default=0.5)
    args = parser.parse_args()
    raws = [path.read_bytes() for path in files(args.data)[:100]]
    crop(raws[0], True), crop(raws[0], False)  # imports, and the decoder's compiler
    source, target = np.ones(1 << 27, np.uint8), np.zeros(1 << 27, np.uint8)  # larger than the caches
    found = {
        "pillow": per_cpu_s(lambda: [crop(raw, False) for raw in raws], len(raws), args.least_s),
        "fused": per_cpu_s(lambda: [crop(raw, True) for raw in raws], len(raws), args.least_s),
        "copy_gb": per_cpu_s(lambda: np.copyto(target, source), 1, args.least_s) * source.nbytes / 1e9,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
