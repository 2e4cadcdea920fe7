"""What does a trial cost beyond its own work? One library's sweep of short trials; prints JSON.

leyden   each trial is a job: a script in a process of its own, with its log, record, limits and place in the queue
optuna   each trial is a call of a function in one of the worker processes; the study is its journal file
ray      each trial is a call of a function in one of the actors, which are used again
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Found = dict[str, Any]
TRIAL = """
import time; until = time.perf_counter() + {work_s}
import sys
{imports}
import leyden
leyden.log({{"value": float(sys.argv[2])}}, 1)
time.sleep(max(0.0, until - time.perf_counter()))
"""


def leyden(folder: Path, trials: int, parallel: int, work_s: float, torch: bool) -> Found:
    """`leyden sweep` on a server that is ready to fork."""
    from benchmarks.sweep_peers import leyden_peer as peer

    project = folder / "project"
    project.mkdir()
    (project / "warm.py").write_text(peer.WARM)
    (project / "trial.py").write_text(TRIAL.format(work_s=work_s, imports="import torch" if torch else ""))
    asked = ["sweep", "--strategy=random", "--metric=value:min", f"--trials={trials}"]
    if parallel != os.cpu_count():  # else one CPU a trial says it, and others wait ready behind those that run
        asked.append(f"--parallel={parallel}")
    with peer.served(folder / "home", project) as client:
        begin = time.perf_counter()
        command = [*peer.LEYDEN, *asked, "--cpus=1", "trial.py", "--x", "uniform(0,1)"]
        subprocess.run(command, cwd=project, stdout=sys.stderr, check=True)
        wall_s = time.perf_counter() - begin
        until = time.time()
        held = [end - since for job in peer.trials(client) for since, end in peer.spans(client, job, until)]
        done = sum(job.state == "succeeded" for job in client.jobs(include_ended=True, limit=10**4) if "/" in job.name)
    return {"wall_s": wall_s, "done": done, "held_p50_s": statistics.median(held)}


def optuna(folder: Path, trials: int, parallel: int, work_s: float, torch: bool) -> Found:
    """Processes that share a study."""
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    file = str(folder / "study.log")
    study = library.create_study(storage=_storage(file), study_name="sweep")
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(parallel + 1)
    share = [trials // parallel + (number < trials % parallel) for number in range(parallel)]
    workers = [context.Process(target=_optimize, args=(file, one, work_s, ready)) for one in share]
    for worker in workers:
        worker.start()
    ready.wait(timeout=60)
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return {"wall_s": time.perf_counter() - begin, "done": len(study.trials)}


def _optimize(file: str, trials: int, work_s: float, ready: Any) -> None:
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    sampler = library.samplers.RandomSampler()
    study = library.load_study(study_name="sweep", storage=_storage(file), sampler=sampler)
    ready.wait(timeout=60)

    def objective(trial: Any) -> float:
        time.sleep(work_s)
        return float(trial.suggest_float("x", 0, 1))

    study.optimize(objective, n_trials=trials)


def _storage(file: str) -> Any:
    import optuna as library
    from optuna.storages.journal import JournalFileBackend

    return library.storages.JournalStorage(JournalFileBackend(file))


def ray(folder: Path, trials: int, parallel: int, work_s: float, torch: bool) -> Found:
    """A Tuner over a function."""
    from benchmarks.sweep_peers import ray_peer as peer
    from ray import tune

    peer.start(parallel)

    def train(config: dict[str, Any]) -> None:
        time.sleep(work_s)
        tune.report({"value": config["x"], "at": time.time()})

    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value", mode="min", num_samples=trials, max_concurrent_trials=parallel, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    wall_s = time.time() + work_s - min(one.metrics["at"] for one in results if one.metrics)  # its actors had to start
    peer.stop()
    return {"wall_s": wall_s, "done": len(results) - results.num_errors}


def main() -> None:
    """One library, one sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["leyden", "optuna", "ray"])
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--work-s", type=float, default=0.01)
    parser.add_argument("--torch", action="store_true", help="the trial's script imports it")
    options = parser.parse_args()
    work = {"leyden": leyden, "optuna": optuna, "ray": ray}[options.peer]
    with tempfile.TemporaryDirectory(prefix="leyden-sweep-", ignore_cleanup_errors=True) as folder:
        found = work(Path(folder), options.trials, options.parallel, options.work_s, options.torch)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
