"""Ray Tune's ASHA: a local Ray without its dashboard, actors that are used again, the points that Leyden draws.

Its actors are new processes that import torch once the sweep has begun. The others have that behind them, so here the
sweep's time begins with the first trial's function too. Its trials do not pause: one that is not among the best third
at a rung when it comes there is stopped for good.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from typing import Any

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # it need not write CSV, JSON and TensorBoard files
    "TUNE_WARN_THRESHOLD_S": "60",
}
import ray
from benchmarks.sweep_peers.common import ETA, MOST, Outcome, Task
from benchmarks.sweep_peers.problems import PROBLEMS, Journal, Training
from benchmarks.sweep_peers.space import first, of_ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

OBJECTS_BYTES = 100_000_000
_FOLDER = tempfile.mkdtemp(prefix="ray-")  # a short path: it holds sockets
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def start(workers: int) -> None:
    """A Ray of our own."""
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=OBJECTS_BYTES,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=_FOLDER,
    )


def stop() -> None:
    """Its processes go."""
    ray.shutdown()


class Reached(tune.Stopper):  # type: ignore[misc, unused-ignore]
    """Ends all once one trial is good enough, or it has taken too long."""

    def __init__(self, task: Task) -> None:
        self.metric, self.enough, self.is_reached = task.problem.metric, task.problem.reached, False
        self.cap_s, self.until = task.cap_s, 0.0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.until = self.until or time.time() + self.cap_s
        self.is_reached = self.is_reached or self.enough(result[self.metric]) or time.time() > self.until
        return self.is_reached

    def stop_all(self) -> bool:
        return self.is_reached


def run(task: Task, scheduler: str) -> Outcome:
    """One sweep."""
    begin = time.time()
    start(task.workers)
    problem = task.problem
    name, seed, data, journal, first_at = problem.name, task.seed, task.data, task.journal.file, task.scratch / "first"

    def train(config: dict[str, Any]) -> None:
        with contextlib.suppress(FileExistsError), first_at.open("x") as file:
            file.write(str(time.time()))
        noted, training = Journal(journal), Training(PROBLEMS[name], config, seed=seed, data=data)
        trial = tune.get_context().get_trial_id()
        while training.epoch < training.problem.epochs:
            score = training.one_epoch()
            noted.note(trial, training.epoch, score)
            tune.report({training.problem.metric: score})

    asha = ASHAScheduler(max_t=problem.epochs, grace_period=task.first_rung, reduction_factor=ETA)
    points = first(problem.space, task.seed, MOST)
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space=of_ray(problem.space),
        tune_config=tune.TuneConfig(
            metric=problem.metric,
            mode=problem.goal,
            search_alg=BasicVariantGenerator(points_to_evaluate=points, max_concurrent=task.workers),
            scheduler=asha if scheduler == "asha" else FIFOScheduler(),
            num_samples=MOST,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(task.scratch), stop=Reached(task), verbose=0),
    )
    tuner.fit()
    ended_at, began_at = time.time(), float(first_at.read_text())
    stop()
    held = [(began_at, ended_at)] * task.workers  # its actors are kept from one trial to the next
    return Outcome(start_s=began_at - begin, began_at=began_at, ended_at=ended_at, held=held)
