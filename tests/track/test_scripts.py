"""Is a script without a Trainer paused, stopped and resumed, with nothing done twice?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leyden
from leyden.core.errors import CheckpointError
from leyden.track import checkpoints, run
from leyden.track.read import read_run
from tests.track.answers import END, PAUSE, answering, go_on, rungs, trial_environ

SCRIPT = """
import json, pathlib, leyden
saved = leyden.latest_checkpoint()
state = json.loads(saved.read_text()) if saved else {"epoch": 0, "sum": 1.0}
for epoch in range(state["epoch"] + 1, 30):
    state = {"epoch": epoch, "sum": state["sum"] * 0.5}
    pathlib.Path("model.json").write_text(json.dumps(state))
    leyden.checkpoint("model.json", step=epoch)
    leyden.report(epoch, {"val_loss": state["sum"], "other": {"deep": 1}})
"""


def python(code: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEYDEN_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=kept | environ, capture_output=True, text=True, check=False
    )


def test_a_script_is_paused_resumed_and_ended(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with answering(PAUSE, go_on("epoch:5"), END) as sweep:
        first = python(SCRIPT, tmp_path, trial_environ(folder, "epoch:1", sweep.url))
        again = trial_environ(folder, "epoch:3", sweep.url) | {"LEYDEN_ATTEMPT": "2"}
        second = python(SCRIPT, tmp_path, again)
    assert (first.returncode, first.stderr) == (76, "leyden: paused at epoch 1\n")
    assert (second.returncode, second.stderr) == (0, "leyden: the sweep asks for no more than epoch 5\n")
    assert [one["resource"] for one in sweep.asked] == [1, 3, 5]
    assert [one["values"] for one in rungs(folder)] == [{"val_loss": 0.5**epoch} for epoch in (1, 3, 5)]
    points = read_run(folder)["val_loss"]
    assert list(points.steps) == [1, 2, 3, 4, 5]  # each epoch once
    assert [one.name for one in checkpoints.found(folder / "checkpoints")] == ["step=5", "step=4"]


def test_a_metric_that_never_comes_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    done = python(SCRIPT, tmp_path, trial_environ(tmp_path / "r", "epoch:2", metric="val_los"))
    assert done.returncode == 0
    said = (
        "leyden: the sweep asks for 'val_los' at epoch 2, and no report had it: not paused; did you mean 'val_loss'?\n"
    )
    assert done.stderr == said
    assert not (tmp_path / "r/rungs.jsonl").exists()


def test_all_ranks_do_what_rank_0_is_told(tmp_path: Path) -> None:
    with answering(go_on("step:4"), PAUSE) as sweep:
        environ = trial_environ(tmp_path / "r", "step:2", sweep.url) | {"WORLD_SIZE": "2"}
        code = "import leyden, sys\nfor i in range(1, 9): leyden.report(i, {'val_loss': i})"
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", code], env={**os.environ, **environ, "RANK": str(rank)}, stderr=subprocess.PIPE
            )
            for rank in (1, 0)
        ]
        said = [one.communicate(timeout=60)[1] for one in ranks]
    assert [one.returncode for one in ranks] == [76, 76]
    assert said == [b"", b"leyden: paused at step 4\n"]
    assert [one["resource"] for one in sweep.asked] == [2, 4]


def test_outside_of_a_trial_a_report_is_only_logged(tmp_path: Path) -> None:
    done = python(SCRIPT, tmp_path, {"LEYDEN_HOME": str(tmp_path / "home")})
    assert (done.returncode, done.stderr) == (0, "")
    [folder] = (tmp_path / "leyden_runs").glob("*/")
    assert len(read_run(folder)["other/deep"].values) == 29
    assert [one.step for one in checkpoints.found(folder / "checkpoints")] == [29, 28]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "_run", None)
    monkeypatch.setenv("LEYDEN_RUN_DIR", str(tmp_path / "r"))
    monkeypatch.setenv("LEYDEN_CHECKPOINT_DIR", str(tmp_path / "r/checkpoints"))
    monkeypatch.delenv("LEYDEN_RESUME_FROM", raising=False)
    return tmp_path / "r/checkpoints"


def test_a_folder_is_kept_whole_and_a_damaged_one_is_stepped_over(job: Path, tmp_path: Path) -> None:
    assert leyden.latest_checkpoint() is None
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    for step in (1, 2):
        (model / "deep/weights").write_text(str(step))
        leyden.checkpoint(model, step)
    newest = leyden.latest_checkpoint()
    assert newest == job / "step=2/model"
    assert (newest / "deep/weights").read_text() == "2"
    leyden.checkpoint(model, 2)  # once more
    (job / "step=2/model/deep/weights").write_text("torn apart")
    assert leyden.latest_checkpoint() == job / "step=1/model"
    assert [one.damaged for one in checkpoints.found(job)] == [True, False]
    run.finish()


def test_pinned_ones_and_those_of_a_trainer_stay(job: Path, tmp_path: Path) -> None:
    (job / "epoch=1-step=10").mkdir(parents=True)
    (job / "epoch=1-step=10/manifest.json").write_text('{"step": 10, "created_at": 5}')
    (tmp_path / "model").write_text("x")
    for step in range(1, 6):
        leyden.log({"loss": 1.0}, step=step)
        leyden.checkpoint(tmp_path / "model")
        checkpoints.pin(job, f"step={step}", pinned=step == 1)
    assert [one.name for one in checkpoints.found(job)] == ["step=5", "step=4", "step=1", "epoch=1-step=10"]
    run.finish()


def test_a_fork_begins_where_the_other_job_was(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").write_text("x")
    leyden.checkpoint(tmp_path / "model", 4)
    run.finish()
    monkeypatch.setenv("LEYDEN_RESUME_FROM", str(job / "step=4"))
    monkeypatch.setenv("LEYDEN_RUN_DIR", str(tmp_path / "fork"))
    monkeypatch.setenv("LEYDEN_CHECKPOINT_DIR", str(tmp_path / "fork/checkpoints"))
    assert leyden.latest_checkpoint() == job / "step=4/model"
    leyden.checkpoint(tmp_path / "model", 5)
    assert leyden.latest_checkpoint() == tmp_path / "fork/checkpoints/step=5/model"
    run.finish()


def test_what_cannot_be_kept_is_said_and_leaves_nothing(job: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        leyden.checkpoint(tmp_path / "nothing", 1)
    (tmp_path / "manifest.json").write_text("{}")
    for what in (tmp_path / "manifest.json", tmp_path):
        with pytest.raises(CheckpointError, match="of that name, or lie in it"):
            leyden.checkpoint(what, 1)
    assert not [*job.glob("*")]
    run.finish()
