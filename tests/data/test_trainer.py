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


def run(folder: Path, ranks: int, *trainings: tuple[str, int, str]) -> list[list[dict[str, Any]]]:
    """What every rank told, of one training after another: (name, steps, the checkpoint it goes on from)."""
    environ = {**os.environ, "RESULTS": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [str(word) for training in trainings for word in training]
    command = [sys.executable, str(SCRIPT), str(ranks), *words]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [name for name, _, _ in trainings]
    return [[json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(ranks)] for name in names]


def samples(told: list[dict[str, Any]], epoch: int) -> list[tuple[int, float]]:
    """(number, random number) of every sample of an epoch, over all ranks, by number."""
    return sorted((number, drawn) for one in told for at, number, drawn in one["seen"] if at == epoch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """One rank trained for three epochs without a break, and one that stopped after 20 samples of epoch 1."""
    [whole], [part] = run(folder, 1, ("whole", -1, "new"), ("part", STEPS + 5, "new"))
    return whole, part


@pytest.fixture(scope="module")
def whole(unbroken: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return unbroken[0]


@pytest.fixture(scope="module")
def part(unbroken: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return unbroken[1]


@pytest.fixture(scope="module")
def on_two(folder: Path, part: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Two ranks: for 4 of 7 steps, and 4 steps from where one stopped."""
    return run(folder, 2, ("two", 4, "new"), ("back", STEPS + 5 + 4, "part"))


@pytest.fixture(scope="module")
def rests(folder: Path, on_two: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Another process, of one rank, goes on to the end: from where one had stopped, and from where two had."""
    return run(folder, 1, ("rest", -1, "part"), ("one", -1, "two"))


def test_every_sample_comes_once_an_epoch_in_an_order_of_its_own(whole: dict[str, Any]) -> None:
    orders = [[number for at, number, _ in whole["seen"] if at == epoch] for epoch in range(3)]
    assert all(sorted(order) == list(range(SAMPLES)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert whole["validated"][-SAMPLES:] == list(range(SAMPLES))
    assert whole["val_number"] == pytest.approx((SAMPLES - 1) / 2)


def test_what_was_waited_for_is_on_record(whole: dict[str, Any]) -> None:
    series = read_run(Path(whole["run"]))
    assert len(series["data/wait"].values) == 3
    assert all(0 <= share <= 1 for share in series["data/wait"].values)
    causes = [name for name in series if name.startswith("data/wait_")]
    assert sorted(causes) == ["data/wait_copy", "data/wait_decode", "data/wait_fetch", "data/wait_transform"]


@pytest.mark.slow
def test_training_broken_off_in_mid_epoch_ends_with_the_same_bits(
    whole: dict[str, Any], part: dict[str, Any], rests: list[list[dict[str, Any]]]
) -> None:
    [resumed], _ = rests
    assert part["seen"] + resumed["seen"] == whole["seen"]
    assert resumed["weights"] == whole["weights"]


@pytest.mark.slow
def test_other_ranks_finish_the_epoch_with_the_same_samples(
    whole: dict[str, Any],
    part: dict[str, Any],
    on_two: list[list[dict[str, Any]]],
    rests: list[list[dict[str, Any]]],
) -> None:
    (two, back), (_, one) = on_two, rests
    assert samples([*two, *one], 0) == samples([whole], 0)  # also the same augmentations
    assert samples(one, 1) == samples([whole], 1)
    assert samples([part, *back], 1) == samples([whole], 1)
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
