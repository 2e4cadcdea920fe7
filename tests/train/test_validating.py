"""When is validated, how long must be trained, and how is training made repeatable?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import leyden
from leyden.core.errors import ConfigurationError
from tests.train.models import Line, loader, regression, same, seeded, weights


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(**{"enable_progress_bar": False, "accelerator": "cpu", "num_sanity_val_steps": 0, **settings})


class Notes(Line):
    """Notes at which step it was validated, and logs a score that gets worse."""

    def __init__(self) -> None:
        super().__init__()
        self.validated: list[int] = []

    def on_validation_start(self) -> None:
        self.validated.append(self.global_step)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("score", float(self.global_step))


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [8, 16]),
        ({"val_check_interval": 0.5}, [4, 8, 12, 16]),
        ({"val_check_interval": 3}, [3, 6, 11, 14]),
        ({"val_check_interval": 8}, [8, 16]),
        ({"check_val_every_n_epoch": 2}, [16]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": 2}, [12, 16]),
        ({"val_check_interval": 2, "accumulate_grad_batches": 2, "max_epochs": 1}, [1, 2, 3, 4]),
    ],
)
def test_validation_comes_when_asked(settings: dict[str, Any], steps: list[int]) -> None:
    model = Notes()
    quiet(**{"max_epochs": 2, **settings}).fit(model, loader(), loader(8))
    assert model.validated == steps


def test_the_best_of_mid_epoch_validations_is_kept() -> None:
    saves = leyden.ModelCheckpoint(monitor="score")
    quiet(max_epochs=1, val_check_interval=2, callbacks=[saves]).fit(Notes(), loader(), loader(8))
    assert (Path(saves.best_model_path).name, saves.best_model_score) == ("epoch=0-step=2", 2.0)
    assert Path(saves.last_model_path).name == "epoch=1-step=8"


@pytest.mark.parametrize("crash", [3, 4, 5, 8, 13])
def test_mid_epoch_validation_resumes_exactly(crash: int) -> None:
    class Crash(leyden.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == crash:
                raise RuntimeError("crash")

    class Draws(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            torch.rand(3)
            super().validation_step(batch, batch_idx)

    def run(*callbacks: leyden.Callback, **settings: Any) -> leyden.Trainer:
        saves = leyden.ModelCheckpoint(monitor="val_loss", save_top_k=-1)
        return quiet(max_epochs=2, val_check_interval=2, callbacks=[*callbacks, saves], **settings)

    leyden.seed_everything(7)
    whole = Draws(dropout=0.3)
    run(default_root_dir="whole").fit(whole, loader(shuffle=True), loader(16))
    leyden.seed_everything(7)
    with pytest.raises(RuntimeError, match="crash"):
        run(Crash()).fit(Draws(dropout=0.3), loader(shuffle=True), loader(16))
    resumed = Draws(dropout=0.3)
    run().fit(resumed, loader(shuffle=True), loader(16), ckpt_path="last")
    assert same(weights(whole), weights(resumed))


def test_at_least_so_long() -> None:
    class Stops(leyden.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    for settings, steps in (({}, 1), ({"min_steps": 5}, 5), ({"min_epochs": 2}, 16)):
        trainer = quiet(max_epochs=5, callbacks=[Stops()], enable_checkpointing=False, **settings)
        trainer.fit(seeded(), loader())
        assert trainer.global_step == steps


def test_overfitting_on_purpose() -> None:
    """The same two batches every epoch, for training and validation."""
    seen: list[Any] = []

    class Looks(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(batch[0][0, 0].item())
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            seen.append(batch[0][0, 0].item())

    quiet(max_epochs=2, overfit_batches=2).fit(Looks(), loader(shuffle=True), loader(8))
    first = [regression().tensors[0][index, 0].item() for index in (0, 8)]
    assert seen == first * 4


def test_determinism_is_asked_for_and_given_back() -> None:
    seen: list[bool] = []

    class Looks(Line):
        def on_train_start(self) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    quiet(max_steps=1, deterministic=True).fit(Looks(), loader())
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("inference", [True, False])
def test_evaluation_without_gradients(inference: bool) -> None:
    class Looks(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            assert not torch.is_grad_enabled()
            assert torch.is_inference_mode_enabled() is inference

    quiet(inference_mode=inference).validate(Looks(), loader(8))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_check_interval": 9}, "an epoch has 8 batches"),
        ({"val_check_interval": 1.5}, r"val_check_interval=1\.5"),
        ({"val_check_interval": 0}, "val_check_interval=0"),
    ],
)
def test_mistakes(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        quiet(max_epochs=1, **settings).fit(seeded(), loader(), loader(8))


def test_a_share_of_a_loader_without_length_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(regression(8))

    with pytest.raises(ConfigurationError, match="has no length to take a share of"):
        quiet(max_epochs=1, val_check_interval=0.5).fit(seeded(), DataLoader(Stream(), batch_size=2), loader(8))
