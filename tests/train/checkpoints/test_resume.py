"""Does training that was broken off end with the very same weights?"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import leyden
from leyden.core.errors import CheckpointError
from leyden.track.read import read_run
from tests.train.models import Line, loader, regression, same, seeded, weights


class Noisy(Dataset[Any]):
    """Adds noise from every generator there is, so that a resumed run must have all of them right."""

    def __init__(self) -> None:
        self.inner = regression(60)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        x, y = self.inner[index]
        return x + 0.1 * torch.randn(4) + 0.1 * random.random() + 0.1 * np.random.rand(), y.float()


class StatefulLoader:
    """A loader that keeps its own place, as torchdata's and Leyden's do."""

    def __init__(self) -> None:
        self.place = 0
        self.generator = torch.Generator().manual_seed(3)

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Any:
        while self.place < 8:
            self.place += 1
            x = torch.randn(8, 4, generator=self.generator)
            yield x, x.sum(1, keepdim=True)
        self.place = 0

    def state_dict(self) -> dict[str, Any]:
        return {"place": self.place, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.place = state["place"]
        self.generator.set_state(state["generator"])


def plain() -> Any:
    return DataLoader(Noisy(), batch_size=8, shuffle=True)


def with_workers() -> Any:
    return DataLoader(Noisy(), batch_size=8, shuffle=True, num_workers=2, worker_init_fn=seed_numpy)


def with_lasting_workers() -> Any:
    """What is drawn inside of these is not part of a checkpoint, so nothing is."""
    return DataLoader(regression(60), batch_size=8, shuffle=True, num_workers=1, persistent_workers=True)


def with_generator() -> Any:
    return DataLoader(Noisy(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5))


def seed_numpy(worker: int) -> None:
    np.random.seed(torch.initial_seed() % 2**32)


class Scheduled(Line):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Break(leyden.Callback):
    """Ends the process's training from within, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


def trainer(*callbacks: leyden.Callback, every: int = 3, **settings: Any) -> leyden.Trainer:
    saves = leyden.ModelCheckpoint(every_n_train_steps=every, every_n_epochs=1, save_top_k=-1)
    return leyden.Trainer(
        max_epochs=3, accelerator="cpu", enable_progress_bar=False, callbacks=[*callbacks, saves], **settings
    )


def new_model() -> Scheduled:
    leyden.seed_everything(11)
    return Scheduled(dropout=0.3)


@pytest.mark.parametrize("make", [plain, with_workers, with_lasting_workers, with_generator, StatefulLoader])
@pytest.mark.parametrize("crash", [5, 8, 17])
def test_resumed_equals_uninterrupted(make: Callable[[], Any], crash: int) -> None:
    """Crashes mid-epoch, at an epoch's end and later; dropout, augmentation, schedule, Adam; bit for bit."""
    loaders = [make() for _ in range(3)]
    whole = new_model()
    trainer(default_root_dir="whole").fit(whole, loaders[0], loader(16))
    broken = new_model()
    with pytest.raises(RuntimeError, match="crash"):
        trainer(Break(crash), default_root_dir="broken").fit(broken, loaders[1], loader(16))
    torch.manual_seed(99)  # a new process would not stand where the old one did
    resumed, second = Scheduled(dropout=0.3), trainer(default_root_dir="broken")
    second.fit(resumed, loaders[2], loader(16), ckpt_path="last")
    for one in loaders:
        if getattr(one, "_iterator", None) is not None:
            one._iterator._shutdown_workers()  # lasting ones, which a garbage collection would wait for
    assert second.global_step == 24
    assert same(weights(whole), weights(resumed))
    assert whole.losses[-3:] == resumed.losses[-3:]


def test_the_record_goes_on_as_one_curve() -> None:
    with pytest.raises(RuntimeError, match="crash"):
        trainer(Break(5)).fit(new_model(), plain(), loader(16))
    second = trainer()
    second.fit(Scheduled(dropout=0.3), plain(), loader(16), ckpt_path="last")
    assert second.run is not None
    assert second.run.attempt == 2
    second.run.writer.flush()
    assert list(read_run(second.run.path)["train_loss_step"].steps) == list(range(24))
    assert len(list(Path("leyden_runs").glob("*/run.json"))) == 1


def test_epoch_means_count_what_came_before_the_crash() -> None:
    whole = trainer(default_root_dir="whole")
    whole.fit(new_model(), plain())
    with pytest.raises(RuntimeError, match="crash"):
        trainer(Break(21), default_root_dir="broken").fit(new_model(), plain())
    resumed = trainer(default_root_dir="broken")
    resumed.fit(Scheduled(dropout=0.3), plain(), ckpt_path="last")
    assert resumed.metrics["train_loss"] == whole.metrics["train_loss"]


def test_last_without_a_checkpoint_starts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer()
    run.fit(new_model(), plain(), ckpt_path="last")
    assert run.global_step == 24
    assert "starting anew" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no checkpoint has been saved yet"):
        trainer(default_root_dir="empty").test(new_model(), loader(), ckpt_path="last")


def test_a_finished_run_has_nothing_left_to_do() -> None:
    first = trainer()
    first.fit(new_model(), plain())
    model, again = Scheduled(), trainer()
    again.fit(model, plain(), ckpt_path="last")
    assert model.losses == []
    assert again.global_step == 24


def test_a_quick_trial_needs_no_checkpoint() -> None:
    run = leyden.Trainer(fast_dev_run=True, accelerator="cpu", enable_progress_bar=False)
    model = seeded()
    run.fit(model, loader(), loader(16), ckpt_path="last")
    assert list(run.test(model, loader(16), ckpt_path="best")[0]) == ["test_loss"]


def test_best_weights_are_tested() -> None:
    saves = leyden.ModelCheckpoint(monitor="val_loss")
    run = leyden.Trainer(max_epochs=4, accelerator="cpu", enable_progress_bar=False, callbacks=[saves])
    model = seeded(lr=0.3)
    run.fit(model, loader(), loader(16))
    [scores] = run.test(model, loader(16), ckpt_path="best")
    assert scores["test_loss"] == pytest.approx(saves.best_model_score, rel=1e-6)


def test_callbacks_and_module_keep_their_own_state() -> None:
    class Counts(leyden.Callback):
        def __init__(self) -> None:
            self.batches = 0

        def state_dict(self) -> dict[str, Any]:
            return {"batches": self.batches}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.batches = state_dict["batches"]

        def on_train_batch_end(self, *_: Any) -> None:
            self.batches += 1

    class Remembers(Scheduled):
        word = ""

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["word"] = "kept"

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.word = checkpoint["word"]

    with pytest.raises(RuntimeError, match="crash"):
        trainer(Counts(), Break(10)).fit(Remembers(), plain())
    counts, model = Counts(), Remembers()
    trainer(counts).fit(model, plain(), ckpt_path="last")
    assert counts.batches == 24
    assert model.word == "kept"


def test_the_best_of_none(tmp_path: Path) -> None:
    trainer = leyden.Trainer(
        max_epochs=1,
        enable_progress_bar=False,
        accelerator="cpu",
        callbacks=leyden.ModelCheckpoint(monitor="val_loss"),
    )
    with pytest.raises(CheckpointError, match=r"none was saved\. Call fit first"):
        trainer.validate(seeded(), loader(), ckpt_path="best")
    with pytest.warns(UserWarning, match="never saw that metric"):
        trainer.fit(seeded(), loader())
    with pytest.raises(CheckpointError, match="no checkpoint was saved with 'val_loss'"):
        trainer.validate(seeded(), loader(), ckpt_path="best")


def test_looking_before_training_does_not_hide_the_last_run() -> None:
    first = leyden.Trainer(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    first.fit(seeded(), loader())
    again = leyden.Trainer(max_epochs=2, enable_progress_bar=False, accelerator="cpu")
    again.validate(seeded(), loader())
    again.fit(seeded(), loader(), ckpt_path="last")
    assert (again.current_epoch, again.global_step) == (2, 16)
    assert again.log_dir != first.log_dir
