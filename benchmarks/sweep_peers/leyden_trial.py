"""One trial of the benchmark under Leyden: a plain script, which pauses and goes on where its sweep wants it to.

leyden sweep --strategy asha --metric val_loss:min … leyden_trial.py --problem digits --data FILE --lr "…" …
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.sweep_peers.problems import PROBLEMS, Journal, Training

import leyden


def main() -> None:
    """Train to the end, or as far as it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=list(PROBLEMS), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    for name in sorted({name for problem in PROBLEMS.values() for name in problem.space}):
        parser.add_argument(f"--{name}", type=float)
    options = parser.parse_args()
    problem = PROBLEMS[options.problem]
    training = Training(problem, vars(options), seed=options.seed, data=options.data)
    if saved := leyden.latest_checkpoint():
        training.load(saved)
    journal, trial = Journal(options.journal), os.environ.get("LEYDEN_JOB_ID", "alone")
    every = max(1, problem.epochs // 9)  # epochs; as far as the first rung
    with tempfile.TemporaryDirectory() as folder:
        while training.epoch < problem.epochs:
            score = training.one_epoch()
            journal.note(trial, training.epoch, score)
            if training.epoch % every == 0:
                training.save(Path(folder) / "training.pt")
                leyden.checkpoint(Path(folder) / "training.pt", step=training.epoch)
            leyden.report(training.epoch, {problem.metric: score})


if __name__ == "__main__":
    main()
