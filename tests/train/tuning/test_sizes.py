"""Is the largest batch found that fits, when memory really runs out?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.callbacks import BatchSizeFinder
from leyden.train.tuning import Tuner
from tests.train.callbacks.runs import Break, named, new, trainer
from tests.train.models import Line, regression, same, weights

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("memory_script.py")


class Sized(Line):
    """Its loader follows `batch_size`, and `limit` stands for the memory: torch is asked for far too much above it."""

    def __init__(self, batch_size: int = 4, limit: int = 10**9, samples: int = 64) -> None:
        super().__init__()
        self.batch_size, self.limit, self.samples = batch_size, limit, samples
        self.tried: list[int] = []

    def train_dataloader(self) -> Any:
        return DataLoader(regression(self.samples), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(regression(self.samples), batch_size=self.batch_size)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self._need(batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._need(batch)
        super().validation_step(batch, batch_idx)

    def _need(self, batch: Any) -> None:
        self.tried.append(len(batch[0]))
        if len(batch[0]) > self.limit:
            torch.empty(2**55)  # DefaultCPUAllocator: can't allocate memory


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 32),
        ({"mode": "binsearch", "margin": 0.0}, 37),
        ({"mode": "binsearch", "margin": 0.1}, 33),
        ({"init_val": 64}, 32),
        ({"max_val": 20}, 20),
        ({"max_trials": 2}, 4),
        ({"method": "validate"}, 32),
    ],
)
def test_the_largest_that_fits(settings: dict[str, Any], size: int) -> None:
    model = new(lambda: Sized(limit=37, samples=128))
    before = named(model)
    assert Tuner(trainer()).scale_batch_size(model, **settings) == size == model.batch_size
    assert same(list(before.values()), weights(model))
    assert model._trainer is None


def test_no_more_than_there_are_samples() -> None:
    model = new(lambda: Sized(samples=50))
    assert Tuner(trainer()).scale_batch_size(model) == 50


def test_a_datamodule_and_hyperparameters_are_asked_and_told() -> None:
    class Data(leyden.DataModule):
        def __init__(self, batch_size: int = 4) -> None:
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return DataLoader(regression(128), batch_size=self.hparams.batch_size)

    class Needs(Sized):
        def train_dataloader(self) -> Any:
            raise AssertionError("the DataModule's is to be used")

    data, model = Data(), new(lambda: Needs(limit=16))
    assert Tuner(trainer()).scale_batch_size(model, datamodule=data) == 16
    assert data.hparams.batch_size == model.batch_size == 16


def test_a_callback_finds_before_training_and_a_resume_keeps_it() -> None:
    def run(model: Sized, *callbacks: leyden.Callback, **settings: Any) -> leyden.Trainer:
        saves = leyden.ModelCheckpoint(every_n_train_steps=3)
        one = trainer(BatchSizeFinder(), *callbacks, saves, max_epochs=2, **settings)
        one.fit(model, ckpt_path="last" if settings.get("default_root_dir") == "broken" else None)
        return one

    plain = new(lambda: Sized(8))
    trainer(max_epochs=2).fit(plain)
    whole = new(lambda: Sized(limit=8))
    run(whole)
    assert (whole.batch_size, set(whole.tried[-16:])) == (8, {8})
    assert same(weights(plain), weights(whole))
    with pytest.raises(RuntimeError, match="crash"):
        run(new(lambda: Sized(limit=8)), Break(11), default_root_dir="broken")
    resumed = new(Sized, seed=99)
    run(resumed, default_root_dir="broken")
    assert set(resumed.tried) == {8}
    assert same(weights(plain), weights(resumed))


def test_other_errors_are_not_taken_for_it() -> None:
    class Wrong(Sized):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("shapes do not fit")

    model = Wrong(batch_size=5)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Tuner(trainer()).scale_batch_size(model)
    assert model.batch_size == 5


def test_mistakes() -> None:
    class Stubborn(Sized):
        def train_dataloader(self) -> Any:
            return DataLoader(regression(64), batch_size=16)

    with pytest.raises(ConfigurationError, match="train_dataloader makes batches of 16"):
        Tuner(trainer()).scale_batch_size(Stubborn())
    with pytest.raises(ConfigurationError, match="neither Line nor its DataModule has batch_size"):
        Tuner(trainer()).scale_batch_size(Line())
    with pytest.raises(ConfigurationError, match="memory ran out with every size tried, the last was 1"):
        Tuner(trainer()).scale_batch_size(Sized(limit=0))
    with pytest.raises(ConfigurationError, match="it is unknown"):
        Tuner(trainer()).scale_batch_size(Sized(), mode="triple")
    assert Tuner(trainer(fast_dev_run=True)).scale_batch_size(Sized()) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_ranks_agree_when_memory_really_runs_out_on_one(tmp_path: Path) -> None:
    """Rank 1 may have 896 MiB more address space, the others what they like; all end with what rank 1 can bear.

    The same launch asks for a learning rate, for rates scaled to 4 ranks, and for LAMB over whole and sharded weights.
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(4)]
    for one in ranks:
        assert one["size"] == 4  # 128 MiB a sample: 8 would be 1024
        assert one["after"] == one["before"]
        assert one["trained"] == ranks[0]["trained"]
        assert one["found"] == ranks[0]["found"]
        assert one["rates"] == pytest.approx([0.1 + 0.3 * min(1, step / 4) for step in range(8)])
        assert (one["ddp_after"], one["fsdp_after"]) == (one["ddp"], one["fsdp"])
        assert one["fsdp_sweep"] == pytest.approx(ranks[0]["ddp_sweep"], rel=1e-3)
        assert one["fsdp"] == pytest.approx(ranks[0]["ddp"], rel=1e-4, abs=1e-6)
    assert [one["failed"] for one in ranks] == [0, 1, 0, 0]
    assert ranks[0]["refused"] == ranks[1]["refused"]
    assert "would keep the others waiting" in ranks[0]["refused"]
