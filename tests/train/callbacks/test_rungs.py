"""Does a trial that pauses at its rungs, and goes on, end with the bits of one that ran through?"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import leyden
from leyden.track import checkpoints, run, trial
from leyden.track.read import read_run
from tests.track.answers import END, PAUSE, answering, go_on, rungs, trial_environ
from tests.train.callbacks.runs import Normed, new, trainer
from tests.train.launching import free_port
from tests.train.models import Line, loader, weights

ROOT = Path(__file__).parents[3]


class Attempts:
    """One trial's, each as a process of its own would be: what the worker tells it, a model made anew, a fit."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, url: str = "") -> None:
        self.folder, self.url, self.number = folder, url, 0
        self._monkeypatch = monkeypatch

    def run(self, budget: str, metric: str = "val_loss", kind: Callable[[], Line] = Normed, **settings: Any) -> Any:
        """The module, and the code it left with: None where fit returned."""
        self.number += 1
        environ = trial_environ(self.folder, budget, self.url, metric) | {"LEYDEN_ATTEMPT": str(self.number)}
        if found := checkpoints.found(self.folder / "checkpoints"):
            environ["LEYDEN_RESUME_FROM"] = str(self.folder / "checkpoints" / found[0].name)
        for name in ("LEYDEN_TRIAL_BUDGET", "LEYDEN_RESUME_FROM"):
            self._monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            if value:
                self._monkeypatch.setenv(name, value)
        self._monkeypatch.setattr(trial, "_trial", None)
        run.finish()
        module, code = new(kind), None
        callbacks, val = settings.pop("callbacks", []), settings.pop("val", True)
        try:
            trainer(*callbacks, **settings).fit(module, loader(shuffle=True), loader(16) if val else None)
        except SystemExit as left:
            code = left.code
        run.finish()
        return module, code

    def points(self) -> dict[str, list[tuple[int, float]]]:
        found = read_run(self.folder)
        return {
            name: list(zip(one.steps, one.values, strict=True)) for name, one in found.items() if "system/" not in name
        }


def alike(one: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("saves", [True, False])
def test_a_trial_that_pauses_twice_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: bool
) -> None:
    """Weights, and every point once."""
    settings: Any = {"max_epochs": 5, "enable_checkpointing": saves}
    whole, code = Attempts(tmp_path / "whole", monkeypatch).run("", **settings)
    assert code is None
    with answering(PAUSE, PAUSE, END) as sweep:
        parts = Attempts(tmp_path / "parts", monkeypatch, sweep.url)
        codes = [parts.run(budget, **settings)[1] for budget in ("epoch:1", "epoch:3")]
        assert codes == [76, 76]
        assert len(checkpoints.found(tmp_path / "parts/checkpoints")) == 1
        last, code = parts.run("epoch:5", **settings)
    assert code is None
    assert alike(whole, last)
    points = parts.points()
    assert points == Attempts(tmp_path / "whole", monkeypatch).points()
    assert [one["resource"] for one in sweep.asked] == [1, 3, 5]
    at = dict(points["val_loss"])
    assert [one["values"] for one in rungs(tmp_path / "parts")] == [{"val_loss": at[step]} for step in (8, 24, 40)]


def test_let_go_on_it_does_so_in_the_same_process_and_ends_where_the_sweep_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(go_on("epoch:2"), END) as sweep:
        one = Attempts(tmp_path / "r", monkeypatch, sweep.url)
        _, code = one.run("epoch:1", max_epochs=9, enable_progress_bar=True)
    assert code is None
    assert [step for step, _ in one.points()["val_loss"]] == [8, 16]
    said = capsys.readouterr().out
    assert "rung at epoch 1, val_loss " in said
    assert ": goes on to epoch 2" in said
    assert ": the sweep asks for no more" in said


def test_steps_count_where_the_metric_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation every four steps: a budget of 6 is asked about at 8, the end of the epoch, one of 10 at 12."""
    settings: Any = {"max_epochs": 2, "val_check_interval": 4}
    whole, _ = Attempts(tmp_path / "whole", monkeypatch).run("", **settings)
    with answering(PAUSE) as sweep:
        parts = Attempts(tmp_path / "parts", monkeypatch, sweep.url)
        assert [parts.run(budget, **settings)[1] for budget in ("step:6", "step:10")] == [76, 76]
    last, _ = parts.run("step:99", **settings)
    assert [one["resource"] for one in sweep.asked] == [8, 12]
    assert alike(whole, last)
    assert parts.points() == Attempts(tmp_path / "whole", monkeypatch).points()


def test_a_metric_of_each_step_stops_at_the_very_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(PAUSE) as sweep:
        one = Attempts(tmp_path / "r", monkeypatch, sweep.url)
        assert one.run("step:3", metric="train_loss_step", val=False)[1] == 76
    assert [asked["resource"] for asked in sweep.asked] == [3]
    assert len(one.points()["train_loss_step"]) == 3


def test_a_validation_that_comes_later_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(PAUSE) as sweep:
        one = Attempts(tmp_path / "r", monkeypatch, sweep.url)
        assert one.run("epoch:3", max_epochs=9, check_val_every_n_epoch=2)[1] == 76
    assert [asked["resource"] for asked in sweep.asked] == [4]


def test_one_killed_between_checkpoint_and_answer_asks_again_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(PAUSE) as sweep:
        one = Attempts(tmp_path / "r", monkeypatch, sweep.url)
        assert [one.run("epoch:2", max_epochs=9)[1] for _ in range(2)] == [76, 76]
    assert sweep.asked[0] == sweep.asked[1]
    assert [step for step, _ in one.points()["val_loss"]] == [8, 16]


def test_training_that_is_over_anyway_is_not_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = leyden.EarlyStopping("val_loss", stopping_threshold=1e9)
    with answering(PAUSE) as sweep:
        assert (
            Attempts(tmp_path / "r", monkeypatch, sweep.url).run("epoch:1", max_epochs=9, callbacks=[stop])[1] is None
        )
        assert Attempts(tmp_path / "s", monkeypatch, sweep.url).run("epoch:2", max_epochs=2)[1] is None
    assert [asked["resource"] for asked in sweep.asked] == [1, 2]


class Diverges(Line):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", math.nan)


def test_no_number_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(PAUSE) as sweep:
        one = Attempts(tmp_path / "r", monkeypatch, sweep.url)
        assert one.run("epoch:1", kind=Diverges)[1] == 76
    assert [asked["values"] for asked in sweep.asked] == [{"val_loss": None}]


def test_a_metric_that_never_appears_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Attempts(tmp_path / "r", monkeypatch)
    with pytest.warns(UserWarning, match="'val_los', which was never logged.*did you mean 'val_loss'") as told:
        assert one.run("epoch:1", metric="val_los", max_epochs=3)[1] is None
    assert len(told) == 1
    assert not (tmp_path / "r/rungs.jsonl").exists()


def test_only_the_best_are_kept_and_yet_the_one_to_go_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ModelCheckpoint that keeps weights alone, and one that is not due: a whole one of this moment is written."""
    light = leyden.ModelCheckpoint(monitor="val_loss", mode="max", save_weights_only=True)
    seldom = leyden.ModelCheckpoint(every_n_epochs=7)
    with answering(PAUSE) as sweep:
        for name, saves in (("light", light), ("seldom", seldom)):
            one = Attempts(tmp_path / name, monkeypatch, sweep.url)
            assert one.run("epoch:2", max_epochs=9, callbacks=[saves])[1] == 76
            assert one.run("epoch:4", max_epochs=9, callbacks=[saves])[1] == 76
    assert [asked["resource"] for asked in sweep.asked] == [2, 4, 2, 4]


def test_outside_of_a_trial_there_is_no_such_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_trial", None)
    monkeypatch.delenv("LEYDEN_TRIAL_BUDGET", raising=False)
    assert [type(one).__name__ for one in trainer().callbacks] == ["ModelCheckpoint"]


SCRIPT = """
import os, sys
import leyden
from tests.train.callbacks.runs import trainer
from tests.train.models import loader, seeded
trainer(max_epochs=9, devices=int(sys.argv[1])).fit(seeded(), loader(), loader(16))
"""


@pytest.mark.parametrize("launched", [pytest.param(True, marks=pytest.mark.slow), False])
def test_all_ranks_pause(tmp_path: Path, launched: bool) -> None:
    """Those that a launcher started, and those that the Trainer forks, whose parent's code counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEYDEN_")}
    with answering(go_on("step:6"), PAUSE) as sweep:
        environ = (
            kept | trial_environ(tmp_path / "r", "step:4", sweep.url, "train_loss_step") | {"PYTHONPATH": str(ROOT)}
        )
        common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        common["MASTER_PORT"] = str(free_port())
        worlds = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)] if launched else [{}]
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, "2"], env=environ | one, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for one in worlds
        ]
        said = [one.communicate(timeout=120)[0].decode() for one in ranks]
    assert [one.returncode for one in ranks] == [76] * len(worlds), said
    assert [one["resource"] for one in sweep.asked] == [4, 6]
    [saved] = checkpoints.found(tmp_path / "r/checkpoints")
    assert (saved.step, json.loads((tmp_path / "r/run.json").read_text())["id"]) == (6, "r")
