"""Is everything a user can get wrong answered with what was asked, what was found and what to do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import leyden
from leyden.core.errors import CheckpointError, ConfigurationError, LeydenError, TrainingError
from tests.train.models import Line, loader, regression, seeded


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(
        **{
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "enable_checkpointing": False,
            "max_epochs": 1,
            **settings,
        }
    )


class Returns(Line):
    """Returns what it is told as its loss."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.answer(super().training_step(batch, batch_idx))


def test_a_batch_larger_than_the_data() -> None:
    data = DataLoader(regression(8), batch_size=16, drop_last=True)
    with pytest.raises(ConfigurationError, match=r"16.*8|8.*16"):
        quiet().fit(seeded(), data)


@pytest.mark.parametrize("empty", [DataLoader([], batch_size=4), []])  # type: ignore[arg-type]
def test_an_empty_loader(empty: Any) -> None:
    with pytest.raises(ConfigurationError, match="no batch"):
        quiet().fit(seeded(), empty)


def test_a_list_of_batches_is_a_loader() -> None:
    batches = list(loader(32))
    model, trainer = seeded(), quiet(max_epochs=2)
    trainer.fit(model, batches)
    assert trainer.global_step == 8


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda loss: loss.detach(), "has no graph"),
        (lambda loss: loss.item(), "it returned a float"),
        (lambda loss: {"los": loss}, "it returned a NoneType"),
        (lambda loss: loss.expand(3), r"tensor of shape \(3,\)"),
    ],
)
def test_losses_that_are_none(answer: Any, found: str) -> None:
    with pytest.raises(ConfigurationError, match=found):
        quiet().fit(Returns(answer), loader())


def test_none_skips_the_batch() -> None:
    model = Returns(lambda loss: None)
    before = [one.clone() for one in model.parameters()]
    quiet().fit(model, loader())
    assert all(torch.equal(mine, one) for mine, one in zip(model.parameters(), before, strict=True))


def test_weights_that_are_nan_end_training() -> None:
    model = Returns(lambda loss: loss * float("nan"))
    trainer = quiet(log_every_n_steps=2)
    with pytest.raises(TrainingError, match=r"after step 2.*net\.0\.weight.*detect_anomaly"):
        trainer.fit(model, loader())


def test_one_loss_that_is_nan_but_harms_no_weight_does_not() -> None:
    class HeldBack(Returns):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            for one in self.parameters():
                one.grad = torch.zeros_like(one)

    trainer = quiet(log_every_n_steps=1)
    trainer.fit(HeldBack(lambda loss: loss * float("nan")), loader())
    assert trainer.global_step == 8


def test_a_metric_with_two_settings() -> None:
    class Twice(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("x", loss, prog_bar=batch_idx > 0)
            return loss

    with pytest.raises(ConfigurationError, match=r"prog_bar=True.*prog_bar=False"):
        quiet().fit(Twice(), loader())


@pytest.mark.parametrize("watcher", [leyden.EarlyStopping("val_los"), leyden.ModelCheckpoint(monitor="val_los")])
def test_a_monitor_that_was_never_logged(watcher: leyden.Callback) -> None:
    with pytest.raises(ConfigurationError, match="val_loss"):
        quiet(callbacks=watcher).fit(seeded(), loader(), loader())


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    trainer = quiet()
    trainer.fit(seeded(), loader())
    trainer.save_checkpoint(tmp_path / "kept")

    class Wider(Line):
        def __init__(self) -> None:
            super().__init__()
            self.net[3] = nn.Identity()
            self.more = nn.Linear(2, 2)

    with pytest.raises(CheckpointError, match=r"more\.(weight|bias).*net\.3"):
        quiet().fit(Wider(), loader(), ckpt_path=tmp_path / "kept")


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"strategy": "fsdb"}, "fsdp"),
        ({"strategy": "offload", "devices": 2}, "devices=1|fsdp"),
        ({"accelerator": "gpu", "devices": 2}, "auto"),
        ({"devices": 0}, "devices"),
        ({"devices": "two"}, "devices"),
        ({"precision": "17"}, "16"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=1"),
        ({"val_check_interval": 1.5}, "val_check_interval"),
    ],
)
def test_choices_that_do_not_fit_name_the_flag(settings: dict[str, Any], flag: str) -> None:
    if torch.cuda.is_available() and "accelerator" in settings:
        pytest.skip("this machine has GPUs")
    with pytest.raises(LeydenError, match=flag):
        quiet(**settings).fit(seeded(), loader())


class Stepping(Line):
    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.optimizer = optimizer

    def configure_optimizers(self) -> Any:
        return self.optimizer(self)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda model: torch.optim.SGD([], lr=0.1),
        lambda model: torch.optim.SGD(model.requires_grad_(False).parameters(), lr=0.1),
    ],
)
def test_an_optimizer_without_parameters(optimizer: Any) -> None:
    with pytest.raises(ConfigurationError, match="parameter"):
        quiet().fit(Stepping(optimizer), loader())
