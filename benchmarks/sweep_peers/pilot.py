"""What must a target be, so that one of some fifteen random trials reaches it? Trains such trials in full.

    VENV/bin/python -m benchmarks.sweep_peers.pilot digits --trials 40

Prints each trial's score by epoch, and for some targets how many trials reach them, and after which share of their
length. Its seeds are none that the benchmark uses.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.sweep_peers.problems import PROBLEMS, Training
from benchmarks.sweep_peers.space import draw


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=list(PROBLEMS))
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=987_654)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "leyden-sweep-benchmark")
    options = parser.parse_args()
    problem = PROBLEMS[options.problem]
    data, rng = problem.data(options.data), random.Random(options.seed)
    sign = 1 if problem.goal == "min" else -1
    curves: list[list[float]] = []
    for number in range(options.trials):
        params, begin = draw(problem.space, rng), time.perf_counter()
        training = Training(problem, params, seed=options.seed, data=data)
        curves.append([training.one_epoch() for _ in range(problem.epochs)])
        took_s = time.perf_counter() - begin
        print(json.dumps({"trial": number, "took_s": took_s, "params": params, "curve": curves[-1]}), flush=True)
    for target in sorted((min(curve, key=lambda one: sign * one) for curve in curves), key=lambda one: sign * one)[:8]:
        firsts = [
            next(number for number, one in enumerate(curve, start=1) if sign * one <= sign * target)
            for curve in curves
            if any(sign * one <= sign * target for one in curve)
        ]
        share = len(firsts) / len(curves)
        print(f"{target:.5f}: {share:.1%} of trials, at epoch {statistics.median(firsts):.0f} of {problem.epochs}")


if __name__ == "__main__":
    main()
