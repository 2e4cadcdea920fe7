"""Does a Loader feed a Trainer: each sample once, exact after a resume, also on another number of ranks?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import leyden
from leyden.data import Loader
from leyden.track.read import read_run
from tests.data.trainer_script import BATCH, SAMPLES, Model, Numbers, augment

SCRIPT = Path(__file__).with_name("trainer_script.py")
STEPS = -(-SAMPLES // BATCH)  # of one rank's epoch


def run(folder: Path, name: str, ranks: int, steps: int, checkpoint: str = "") -> list[dict[str, Any]]:
    """What every rank told."""
    environ = {**os.environ, "RESULTS": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(SCRIPT), name, str(ranks), str(steps)]
    command += [str(folder / checkpoint)] if checkpoint else []
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(ranks)]


def samples(told: list[dict[str, Any]], epoch: int) -> list[tuple[int, float]]:
    """(number, random number) of every sample of an epoch, over all ranks, by number."""
    return sorted((number, drawn) for one in told for at, number, drawn in one["seen"] if at == epoch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One rank trained for three epochs without a break."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, "whole", 1, -1)[0]


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own(whole: tuple[Path, dict[str, Any]]) -> None:
    _, told = whole
    orders = [[number for at, number, _ in told["seen"] if at == epoch] for epoch in range(3)]
    assert all(sorted(order) == list(range(SAMPLES)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert told["validated"][-SAMPLES:] == list(range(SAMPLES))
    assert told["val_number"] == pytest.approx((SAMPLES - 1) / 2)


def test_what_was_waited_for_is_on_record(whole: tuple[Path, dict[str, Any]]) -> None:
    _, told = whole
    series = read_run(Path(told["run"]))
    assert len(series["data/wait"].values) == 3
    assert all(0 <= share <= 1 for share in series["data/wait"].values)
    causes = [name for name in series if name.startswith("data/wait_")]
    assert sorted(causes) == ["data/wait_copy", "data/wait_decode", "data/wait_fetch", "data/wait_transform"]


def test_training_broken_off_in_mid_epoch_ends_with_the_same_bits(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, told = whole
    run(folder, "part", 1, STEPS + 5)
    resumed = run(folder, "rest", 1, -1, "part")[0]
    first = json.loads((folder / "part-0.json").read_text())
    assert first["seen"] + resumed["seen"] == told["seen"]
    assert resumed["weights"] == told["weights"]


@pytest.mark.slow
def test_other_ranks_finish_the_epoch_with_the_same_samples(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, told = whole
    if not (folder / "part").exists():
        run(folder, "part", 1, STEPS + 5)
    two = run(folder, "two", 2, 4)  # 4 of 7 steps
    one = run(folder, "one", 1, -1, "two")
    assert samples([*two, *one], 0) == samples([told], 0)  # also the same augmentations
    assert samples(one, 1) == samples([told], 1)
    back = run(folder, "back", 2, STEPS + 5 + 4, "part")  # one rank stopped after 20 samples of epoch 1; two go on
    first = json.loads((folder / "part-0.json").read_text())
    assert samples([first, *back], 1) == samples([told], 1)
    assert back[0]["weights"] == back[1]["weights"]


def test_overfit_batches_are_the_same_in_every_epoch(tmp_path: Path) -> None:
    model = Model()
    with Loader(Numbers(), batch_size=4, transform=augment, shuffle=True, seed=11, workers=1, kind="thread") as loader:
        trainer = leyden.Trainer(max_epochs=3, overfit_batches=2, default_root_dir=tmp_path, accelerator="cpu")
        trainer.fit(model, loader, loader)
    epochs = [[sample[1:] for sample in model.seen if sample[0] == epoch] for epoch in range(3)]
    assert len(epochs[0]) == 8
    assert epochs[0] == epochs[1] == epochs[2]
    assert model.validated[-8:] == [number for number, _ in epochs[0]]


def test_an_epoch_cut_short_by_a_limit_is_followed_by_the_next(tmp_path: Path) -> None:
    def train(epochs: int, checkpoint: Path | None = None) -> Model:
        model = Model()
        with Loader(Numbers(), batch_size=4, transform=augment, shuffle=True, seed=11, workers=1) as loader:
            trainer = leyden.Trainer(
                max_epochs=epochs, limit_train_batches=3, default_root_dir=tmp_path, accelerator="cpu"
            )
            trainer.fit(model, loader, ckpt_path=checkpoint)
            trainer.save_checkpoint(tmp_path / f"after-{epochs}")
        return model

    whole, first = train(3), train(2)
    rest = train(3, tmp_path / "after-2")
    assert [at for at, _, _ in whole.seen] == [0] * 12 + [1] * 12 + [2] * 12
    assert first.seen + rest.seen == whole.seen
