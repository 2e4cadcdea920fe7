"""Are MLflow's runs whole where many threads write at once, and is what has ended found without reading its points?"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leyden.server.mlflow.run import MlflowRun as Run
from leyden.server.mlflow.run import Point, new_about
from leyden.server.mlflow.search import parse_filter
from leyden.server.tracking.push import Pushed
from leyden.track.read import read_run

ID = "0t4mdk95qz"


def a_run(folder: Path) -> tuple[Run, Pushed]:
    run = Run(ID, folder / ID, new_about("1", "first", "ada", 1000, "mlflow-artifacts:/1/x/artifacts"))
    files = Pushed(folder / ID, {})
    (folder / ID).mkdir(parents=True)
    run.begin(files, "streets")
    return run, files


def reopened(run: Run) -> Run:
    return Run(ID, run.folder, json.loads((run.folder / "mlflow.json").read_text()))


def test_many_threads(tmp_path: Path) -> None:
    run, files = a_run(tmp_path)

    def work(number: int) -> None:
        for step in range(20):
            run.add(files, [Point(key=f"m{number}", value=float(step), ms=1000 + step, step=step)])
        run.change(files, params={f"p{number}": str(number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    series = read_run(run.folder)
    assert {name: list(one.steps) for name, one in series.items()} == {f"m{n}": list(range(20)) for n in range(8)}
    assert json.loads((run.folder / "config.json").read_text()) == {f"p{n}": n for n in range(8)}
    again = reopened(run)
    assert again.view() == run.view()
    assert again.latest["m3"].value == 19


def test_the_latest_of_what_has_ended_needs_no_points(tmp_path: Path) -> None:
    run, files = a_run(tmp_path)
    run.add(files, [Point(key="m", value=float("nan"), ms=1, step=2), Point(key="n", value=2.5, ms=1, step=2)])
    run.change(files, status="FINISHED", end_ms=2000)
    frames = run.folder / "metrics" / "a1-r0.frames"
    kept = frames.read_bytes()
    frames.unlink()
    assert reopened(run).latest["n"].value == 2.5
    frames.write_bytes(kept)
    run.add(files, [Point(key="n", value=3.5, ms=3, step=3)])
    assert reopened(run).latest["n"].value == 3.5


def test_ten_thousand_runs_are_searched_at_once(tmp_path: Path) -> None:
    runs = []
    for number in range(10_000):
        about = new_about("1", f"r{number}", "ada", number, "")
        about |= {"params": {"lr": str(number)}, "latest": [("loss", str(number / 10_000), 1, 1)], "status": "FINISHED"}
        runs.append(Run(ID, tmp_path, about))
    clauses = parse_filter("metrics.loss < 0.5 and params.lr LIKE '1%' and attributes.status = 'FINISHED'")
    start = time.process_time()
    found = [one for one in runs if all(clause.matches(one) for clause in clauses)]
    assert time.process_time() - start < 1.0
    assert len(found) == 1111
