"""Optuna alone: a study in its journal file, a process a worker, trials that a pruner stops.

As its documentation shows distributed optimization. The first ten trials, random ones for TPE, are given.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from benchmarks.sweep_peers.common import ETA, Outcome, Task
from benchmarks.sweep_peers.problems import Training
from benchmarks.sweep_peers.space import first, of_optuna
from optuna.storages.journal import JournalFileBackend

STARTUP = 10  # TPESampler's own


def halving(task: Task) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=task.first_rung, reduction_factor=ETA)


def hyperband(task: Task) -> optuna.pruners.BasePruner:
    most = task.problem.epochs
    return optuna.pruners.HyperbandPruner(min_resource=task.first_rung, max_resource=most, reduction_factor=ETA)


def none(task: Task) -> optuna.pruners.BasePruner:
    return optuna.pruners.NopPruner()


PRUNERS: dict[str, Callable[[Task], optuna.pruners.BasePruner]] = {
    "halving": halving,
    "hyperband": hyperband,
    "none": none,
}


def run(task: Task, pruner: str) -> Outcome:
    """Workers import and wait for each other; then the sweep begins."""
    begin = time.time()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = str(task.scratch / "study.log")
    direction: Literal["minimize", "maximize"] = "minimize" if task.problem.goal == "min" else "maximize"
    study = optuna.create_study(storage=_storage(file), study_name="sweep", direction=direction)
    for point in first(task.problem.space, task.seed, STARTUP):
        study.enqueue_trial(point)
    context = multiprocessing.get_context("spawn")
    ready, over = context.Barrier(task.workers + 1), context.Event()
    workers = [
        context.Process(target=work, args=(task.problem.name, _plain(task), pruner, number, ready, over))
        for number in range(task.workers)
    ]
    for worker in workers:
        worker.start()
    ready.wait(timeout=60)
    began_at = time.time()
    for worker in workers:
        worker.join(task.cap_s + 30)
        if worker.is_alive():
            worker.kill()
    ended_at = time.time()
    held = [
        (one.datetime_start.timestamp(), one.datetime_complete.timestamp() if one.datetime_complete else ended_at)
        for one in study.trials
        if one.datetime_start
    ]
    return Outcome(start_s=began_at - begin, began_at=began_at, ended_at=ended_at, held=held)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A task that can be pickled."""

    target: float
    seed: int
    workers: int
    cap_s: float
    data: Path
    journal: Path
    scratch: Path


def _plain(task: Task) -> Plain:
    return Plain(
        target=task.problem.target,
        seed=task.seed,
        workers=task.workers,
        cap_s=task.cap_s,
        data=task.data,
        journal=task.journal.file,
        scratch=task.scratch,
    )


def work(name: str, plain: Plain, pruner: str, number: int, ready: Any, over: Any) -> None:
    """A worker: trials until one of anybody's is good enough."""
    from benchmarks.sweep_peers.one import task_of

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = task_of(name, **vars(plain))
    study = optuna.load_study(
        study_name="sweep",
        storage=_storage(str(task.scratch / "study.log")),
        sampler=optuna.samplers.TPESampler(seed=1000 * task.seed + number, constant_liar=task.workers > 1),
        pruner=PRUNERS[pruner](task),
    )
    ready.wait(timeout=60)
    until = time.time() + task.cap_s

    def objective(trial: optuna.Trial) -> float:
        training = Training(task.problem, of_optuna(task.problem.space, trial), seed=task.seed, data=task.data)
        score = 0.0
        while training.epoch < task.problem.epochs:
            score = training.one_epoch()
            task.journal.note(str(trial.number), training.epoch, score)
            trial.report(score, training.epoch)
            if task.problem.reached(score):
                over.set()
            if over.is_set() or time.time() > until:
                study.stop()
                break
            if trial.should_prune():
                raise optuna.TrialPruned
        return score

    study.optimize(objective)


def _storage(file: str) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(JournalFileBackend(file))
