"""Does the loop do what it says?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import leyden
from leyden.core.errors import ConfigurationError
from leyden.track.read import read_run
from tests.train.models import Line, loader, regression, same, seeded, weights


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(**{"enable_progress_bar": False, "accelerator": "cpu", **settings})


def test_learns() -> None:
    model = seeded()
    trainer = quiet(max_epochs=30)
    trainer.fit(model, loader(), loader(32))
    assert model.losses[0] > 2.0
    assert trainer.metrics["val_loss"] < 0.1
    assert trainer.global_step == 30 * 8


def test_equals_a_hand_written_loop() -> None:
    model = seeded(dropout=0.2)
    quiet(max_epochs=3).fit(model, loader(shuffle=True))
    hand = seeded(dropout=0.2)
    optimizer = torch.optim.Adam(hand.parameters(), lr=0.05)
    hand.train()
    data = loader(shuffle=True)
    for _ in range(3):
        for x, y in data:
            (hand.net(x) - y).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert same(weights(model), weights(hand))


def test_two_frames_of_one_file_from_fit_to_training_step() -> None:
    frames: list[tuple[str, str]] = []

    class Looks(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            frame = sys._getframe(1)
            while frame.f_back is not None and frame.f_code.co_name != "test_two_frames_of_one_file":
                frames.append((frame.f_code.co_filename, frame.f_code.co_name))
                if frame.f_code.co_name == "fit":
                    break
                frame = frame.f_back
            return super().training_step(batch, batch_idx)

    quiet(max_steps=1).fit(Looks(), loader())
    assert [name for _, name in frames] == ["_train", "fit"]
    assert len({file for file, _ in frames}) == 1


def test_hooks_come_in_order_and_only_those_overridden() -> None:
    seen: list[str] = []

    class Told(Line):
        def on_train_start(self) -> None:
            seen.append("train_start")

        def on_train_epoch_start(self) -> None:
            seen.append("epoch_start")

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(f"batch_end {batch_idx}")

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            assert all(one.grad is not None for one in self.parameters())
            seen.append("before_step")

        def on_validation_end(self) -> None:
            seen.append("validation_end")

        def on_train_epoch_end(self) -> None:
            seen.append("epoch_end")

    class Called(leyden.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(f"batch_start {batch_idx} at step {trainer.global_step}")

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append("train_end")

    trainer = quiet(max_epochs=1, callbacks=[Called()], num_sanity_val_steps=0, enable_checkpointing=False)
    trainer.fit(Told(), loader(16), loader(8))
    assert seen == [
        "train_start",
        "epoch_start",
        "batch_start 0 at step 0",
        "before_step",
        "batch_end 0",
        "batch_start 1 at step 1",
        "before_step",
        "batch_end 1",
        "validation_end",
        "epoch_end",
        "train_end",
    ]


def test_accumulation_equals_the_big_batch_also_in_the_last_window() -> None:
    """20 samples in micro-batches of 4, windows of 2: steps over 8, 8 and 4 samples."""
    small = seeded()
    quiet(max_epochs=2, accumulate_grad_batches=2).fit(small, loader(20, 4))
    big = seeded()
    trainer = quiet(max_epochs=2)
    trainer.fit(big, loader(20, 8))
    assert trainer.global_step == 6
    for one, other in zip(weights(small), weights(big), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_accumulation_over_a_loader_without_length() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(loader(20, 4).dataset)

    streamed, counted = seeded(), seeded()
    trainer = quiet(max_epochs=1, accumulate_grad_batches=2)
    trainer.fit(streamed, DataLoader(Stream(), batch_size=4))
    quiet(max_epochs=1, accumulate_grad_batches=2).fit(counted, loader(20, 4))
    assert trainer.global_step == 3
    for one, other in zip(weights(streamed), weights(counted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_steps": 11}, 11),
        ({"max_epochs": 2, "limit_train_batches": 3}, 6),
        ({"max_epochs": 1, "limit_train_batches": 0.5}, 4),
        ({"fast_dev_run": True}, 1),
        ({"max_epochs": 2, "max_steps": 9}, 9),
    ],
)
def test_bounds(settings: dict[str, Any], steps: int) -> None:
    trainer = quiet(**settings)
    trainer.fit(seeded(), loader(), loader(32))
    assert trainer.global_step == steps


def test_estimated_steps() -> None:
    trainer = quiet(max_epochs=3, accumulate_grad_batches=3, enable_checkpointing=False)
    trainer.fit(seeded(), loader())
    assert trainer.estimated_stepping_batches == 9 == trainer.global_step


def test_clipping_bounds_the_gradient() -> None:
    norms: list[float] = []

    class Watch(Line):
        def configure_optimizers(self) -> Any:
            module = self

            class Spy(torch.optim.SGD):
                def step(self, closure: Any = None) -> Any:
                    grads = [one.grad for one in module.parameters() if one.grad is not None]
                    norms.append(torch.stack([grad.norm() for grad in grads]).norm().item())
                    return super().step(closure)

            return Spy(self.parameters(), lr=0.01)

    quiet(max_epochs=1, gradient_clip_val=0.01, enable_checkpointing=False).fit(Watch(), loader())
    assert len(norms) == 8
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_schedules_move_when_they_should(interval: str) -> None:
    class Scheduled(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
            self.optimizer = optimizer
            return [optimizer], [{"scheduler": schedule, "interval": interval}]

    model = Scheduled(lr=0.0)
    quiet(max_epochs=2, limit_train_batches=2, enable_checkpointing=False).fit(model, loader())
    assert model.optimizer.param_groups[0]["lr"] == (0.0625 if interval == "step" else 0.25)


def test_plateau_schedule_watches_a_metric() -> None:
    class Plateau(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0)

        def configure_optimizers(self) -> Any:
            self.optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=0, factor=0.1)
            return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    model = Plateau()
    quiet(max_epochs=2, enable_checkpointing=False).fit(model, loader(), loader(8))
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_metrics_are_exact_and_all_kept() -> None:
    """Means over an epoch weigh batches by their size; every step's value is in the record."""
    model = seeded()
    trainer = quiet(max_epochs=2, log_every_n_steps=3)
    trainer.fit(model, loader(20, 8), loader(20, 8))
    assert trainer.run is not None
    trainer.run.writer.flush()
    record = read_run(trainer.run.path)
    assert list(record["train_loss_step"].values) == pytest.approx(model.losses)
    assert list(record["train_loss_step"].steps) == list(range(6))
    first = (8 * model.losses[0] + 8 * model.losses[1] + 4 * model.losses[2]) / 20
    assert record["train_loss_epoch"].values[0] == pytest.approx(first)
    x, y = regression(20).tensors
    with torch.no_grad():
        whole = (model.net(x) - y).square().mean().item()
    assert trainer.metrics["val_loss"] == pytest.approx(whole, rel=1e-6)
    assert trainer.callback_metrics["val_loss"].item() == trainer.metrics["val_loss"]


def test_validate_test_and_predict() -> None:
    model = seeded()
    trainer = quiet()
    [validated] = trainer.validate(model, loader(20))
    [tested] = trainer.test(model, loader(20))
    assert validated["val_loss"] == tested["test_loss"] > 0
    predictions = trainer.predict(model, loader(20, 8))
    assert [tuple(part.shape) for part in predictions] == [(8, 1), (8, 1), (4, 1)]
    assert not predictions[0].requires_grad
    assert model.training


def test_several_validation_loaders_are_told_apart() -> None:
    class Two(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("where", float(dataloader_idx))

    first, second = quiet().validate(Two(), [loader(8), loader(16)])
    assert first == {"where/dataloader_idx_0": 0.0}
    assert second == {"where/dataloader_idx_1": 1.0}


def test_sanity_check_runs_first_and_changes_nothing() -> None:
    seen: list[str] = []

    class Told(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append("sanity" if self.trainer.sanity_checking else "validation")
            torch.rand(1)
            super().validation_step(batch, batch_idx)

    leyden.seed_everything(7)
    checked = Told(dropout=0.3)
    quiet(max_epochs=1).fit(checked, loader(), loader(32))
    assert seen == ["sanity"] * 2 + ["validation"] * 4
    leyden.seed_everything(7)
    unchecked = Told(dropout=0.3)
    quiet(max_epochs=1, num_sanity_val_steps=0).fit(unchecked, loader(), loader(32))
    assert same(weights(checked), weights(unchecked))


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    class Frozen(Line):
        def on_train_epoch_start(self) -> None:
            self.net[2].eval()

        def on_train_epoch_end(self) -> None:
            assert not self.net[2].training
            assert self.net[0].training

    quiet(max_epochs=1).fit(Frozen(), loader(), loader(8))


def test_mixed_precision_runs_the_forward_pass_in_bfloat16() -> None:
    kinds: set[torch.dtype] = set()

    class Looks(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            kinds.add(self.net(batch[0]).dtype)
            return super().training_step(batch, batch_idx)

    model = Looks()
    quiet(max_epochs=1, precision="bf16-mixed").fit(model, loader())
    assert kinds == {torch.bfloat16}
    assert {one.dtype for one in model.parameters()} == {torch.float32}


def test_a_step_may_return_a_mapping_or_skip_its_batch() -> None:
    class Skips(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": super().training_step(batch, batch_idx)} if batch_idx % 2 else None

    model = Skips()
    before = weights(model)
    quiet(max_epochs=1).fit(model, loader())
    assert len(model.losses) == 4
    assert not same(before, weights(model))


def test_datamodule_is_set_up_and_torn_down() -> None:
    seen: list[str] = []

    class Data(leyden.DataModule):
        def prepare_data(self) -> None:
            seen.append("prepare")

        def setup(self, stage: str) -> None:
            seen.append(f"setup {stage}")

        def teardown(self, stage: str) -> None:
            seen.append(f"teardown {stage}")

        def train_dataloader(self) -> Any:
            return loader()

        def test_dataloader(self) -> Any:
            return loader(8)

    trainer, data, model = quiet(max_epochs=1), Data(), seeded()
    trainer.fit(model, data)
    trainer.test(model, datamodule=data, ckpt_path="best")
    assert seen == ["prepare", "setup fit", "teardown fit", "prepare", "setup test", "teardown test"]


class NoLoss(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return "loss"


class NoGraph(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx).detach()


class NoOptimizer(Line):
    def configure_optimizers(self) -> Any:
        return None


class TwoSettings(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("twice", 1.0)
        self.log("twice", 1.0, prog_bar=True)
        return super().training_step(batch, batch_idx)


class LogsVector(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("vector", batch[0])
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (NoLoss, "returned a str"),
        (NoGraph, "has no graph"),
        (NoOptimizer, "returned nothing"),
        (TwoSettings, "logged before with prog_bar=False"),
        (LogsVector, "a tensor of shape (8, 4)"),
    ],
)
def test_mistakes_in_a_module_are_named(model: type[Line], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quiet(max_epochs=1).fit(model(), loader())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"accelerator": "gpuu"}, "did you mean 'gpu'"),
        ({"strategy": "dpp"}, "did you mean 'ddp'"),
        ({"precision": "fp8"}, "bf16-mixed"),
        ({"devices": 0}, "devices=0"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0"),
    ],
)
def test_mistakes_in_the_trainer_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quiet(**{"max_epochs": 1, **settings}).fit(seeded(), loader())
    assert words in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for the GPU that is missing")
def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(ConfigurationError, match="sees no such device"):
        quiet(accelerator="cuda", devices=1).fit(seeded(), loader())
    with pytest.raises(ConfigurationError, match="leyden run --gpus 1"):
        quiet(accelerator="gpu", devices=2).fit(seeded(), loader())


def test_empty_and_missing_loaders_are_named() -> None:
    with pytest.raises(ConfigurationError, match="no batch"):
        quiet(max_epochs=1).fit(seeded(), loader(4, 8, drop_last=True))
    with pytest.raises(ConfigurationError, match="neither the DataModule nor Line has train_dataloader"):
        quiet(max_epochs=1).fit(seeded())
    with pytest.raises(ConfigurationError, match=r"no leyden\.Module"):
        quiet(max_epochs=1).fit(torch.nn.Linear(1, 1), loader())  # type: ignore[arg-type]


def test_a_metric_that_is_watched_but_never_logged_is_named() -> None:
    stop = leyden.EarlyStopping("val_los")
    with pytest.raises(ConfigurationError, match="did you mean 'val_loss'"):
        quiet(max_epochs=2, callbacks=[stop]).fit(seeded(), loader(), loader(8))


def test_the_record_goes_where_it_is_told(tmp_path: Path) -> None:
    trainer = quiet(max_epochs=1, default_root_dir=tmp_path / "elsewhere")
    trainer.fit(seeded(), loader())
    assert trainer.run is not None
    assert trainer.run.path.parent == tmp_path / "elsewhere" / "leyden_runs"
    assert (trainer.checkpoint_dir / "epoch=1-step=8" / "manifest.json").exists()


def test_what_is_written_before_fit_lies_in_the_same_run() -> None:
    early = leyden.run_dir()
    trainer = leyden.Trainer(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    trainer.fit(seeded(), loader())
    assert trainer.log_dir == early
    again = leyden.Trainer(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    again.fit(seeded(), loader())
    assert again.log_dir != early


def test_the_last_part_of_an_epoch_is_told_and_goes_on_exactly(tmp_path: Path) -> None:
    class Told(Line):
        def __init__(self) -> None:
            super().__init__()
            self.means: list[float] = []
            self.last: list[bool] = []

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.last.append(self.trainer.is_last_batch)

        def on_train_epoch_end(self) -> None:
            self.means.append(self.trainer.metrics["train_loss_epoch"])
            self.log("ends", 1.0)

    def run(model: leyden.Module, steps: int, path: Path | None = None) -> leyden.Trainer:
        trainer = leyden.Trainer(max_epochs=1, max_steps=steps, enable_progress_bar=False, accelerator="cpu")
        trainer.fit(model, loader(), ckpt_path=path)
        return trainer

    leyden.seed_everything(2)
    part = Told()
    first = run(part, 5)
    assert part.means == [pytest.approx(sum(part.losses) / 5)]
    assert (first.current_epoch, first.metrics["ends"]) == (0, 1.0)
    rest = Told()
    run(rest, 8, Path(first.checkpoint_callback.last_model_path))  # type: ignore[union-attr]
    leyden.seed_everything(2)
    whole = Told()
    run(whole, 8)
    assert rest.means == whole.means == [pytest.approx(sum(whole.losses) / 8)]
    assert same(weights(rest), weights(whole))
    assert whole.last == [False] * 7 + [True]


def test_a_module_may_change_what_is_loaded(tmp_path: Path) -> None:
    class Renamed(Line):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            held = checkpoint["state_dict"]
            checkpoint["state_dict"] = {name.replace("old.", "net."): value * 2 for name, value in held.items()}
            self.told = checkpoint["global_step"]

    class Old(Line):
        def __init__(self) -> None:
            super().__init__()
            self.old = self.net
            del self.net

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.old(batch[0]).square().mean()

    trainer = leyden.Trainer(max_epochs=1, enable_progress_bar=False, accelerator="cpu")
    trainer.fit(old := Old(), loader())
    path = trainer.checkpoint_callback.last_model_path  # type: ignore[union-attr]
    renamed = Renamed.load_from_checkpoint(path)
    assert renamed.told == 8
    assert same(weights(renamed), [2 * one for one in weights(old)])
