"""How long does one sweep of one library take? The program that is started for each measurement; prints JSON.

    VENV/bin/python -m benchmarks.sweep_peers.one optuna_peer halving digits --seed 0 --data FILE

Every trial of every library writes each score down with its time, in one file (Journal): from it comes when the target
was reached, how many trials had begun by then and how many epochs had been trained. Slot-seconds are the library's own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.sweep_peers.common import Outcome, Task
from benchmarks.sweep_peers.problems import PROBLEMS, Journal


def main() -> None:
    """One sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="a module of benchmarks.sweep_peers")
    parser.add_argument("variant", help="e.g. the pruner")
    parser.add_argument("problem", choices=list(PROBLEMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True, help="its file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cap-s", type=float, default=120.0)
    parser.add_argument("--target", type=float, help="another one than the problem's")
    options = parser.parse_args()
    peer = importlib.import_module(f"benchmarks.sweep_peers.{options.peer}")
    with tempfile.TemporaryDirectory(prefix="leyden-sweep-", ignore_cleanup_errors=True) as folder:
        task = task_of(
            options.problem,
            target=PROBLEMS[options.problem].target if options.target is None else options.target,
            seed=options.seed,
            workers=options.workers,
            cap_s=options.cap_s,
            data=options.data,
            journal=Path(folder) / "journal.jsonl",
            scratch=Path(folder) / "scratch",
        )
        task.scratch.mkdir()
        print(json.dumps(found(task, peer.run(task, options.variant))), flush=True)


def task_of(problem: str, *, target: float, journal: Path, **asked: Any) -> Task:
    """A sweep for that target."""
    return Task(problem=replace(PROBLEMS[problem], target=target), journal=Journal(journal), **asked)


def found(task: Task, outcome: Outcome) -> dict[str, Any]:
    """What counts of it; where the target was not reached in time, the time is the cap."""
    rows = sorted(task.journal.rows(), key=lambda row: float(row["at"]))
    cap_at = outcome.began_at + task.cap_s
    met_at = next((row["at"] for row in rows if task.problem.reached(row["score"])), None)
    until = min(cap_at, met_at or cap_at)
    counted = [row for row in rows if row["at"] <= until]
    scores = [row["score"] for row in counted]
    return {
        "reached": met_at is not None and met_at <= cap_at,
        "wall_s": until - outcome.began_at,
        "held_s": sum(max(0.0, min(end, until) - begin) for begin, end in outcome.held),
        "trials": len({row["trial"] for row in counted}),
        "epochs": len(counted),
        "best": (min if task.problem.goal == "min" else max)(scores) if scores else None,
        "ended_s": outcome.ended_at - outcome.began_at,
        "start_s": outcome.start_s,
    }


if __name__ == "__main__":
    main()
