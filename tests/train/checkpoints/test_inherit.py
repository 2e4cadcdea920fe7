"""Does a fork keep the other's weights and moments, and train with the settings it was started to try?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, lr_scheduler

import leyden
from leyden.track import run
from tests.train.models import Line, loader, same, seeded, weights

Make = Callable[[Line], Any]


def steps(scheduler: Any) -> dict[str, Any]:
    return {"optimizer": scheduler.optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def cosine(module: Line) -> Any:
    return steps(lr_scheduler.CosineAnnealingLR(Adam(module.parameters(), lr=module.lr), 40, eta_min=1e-4))


def two_parts(module: Line) -> Any:
    one = SGD(module.parameters(), lr=module.lr)
    parts = [lr_scheduler.LinearLR(one, 0.1, total_iters=4), lr_scheduler.ExponentialLR(one, 0.9)]
    return steps(lr_scheduler.SequentialLR(one, parts, [4]))


def one_cycle(module: Line) -> Any:
    return steps(lr_scheduler.OneCycleLR(SGD(module.parameters(), lr=1.0, momentum=0.5), module.lr, total_steps=40))


def milestones(*at: int) -> Make:
    return lambda module: steps(lr_scheduler.MultiStepLR(SGD(module.parameters(), lr=module.lr), [*at], 0.5))


def plateau(patience: int = 0) -> Make:
    def make(module: Line) -> Any:
        schedule = lr_scheduler.ReduceLROnPlateau(
            SGD(module.parameters(), lr=module.lr), threshold=1e9, threshold_mode="abs", patience=patience
        )
        return {"optimizer": schedule.optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    return make


class Rates(leyden.Callback):
    """The rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(float(trainer.optimizers[0].param_groups[0]["lr"]))


def train(make: Make, lr: float, epochs: int, **fit: Any) -> tuple[Line, leyden.Trainer, list[float]]:
    module, rates = seeded(lr=lr), Rates()
    module.configure_optimizers = lambda: make(module)  # type: ignore[method-assign]
    trainer = leyden.Trainer(
        max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, num_sanity_val_steps=0, callbacks=[rates]
    )
    trainer.fit(module, loader(shuffle=True), loader(16), **fit)
    run.finish()
    return module, trainer, rates.seen


@pytest.fixture
def forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a job does that begins where another one has ended, after an epoch; as the worker would tell it."""

    def fork(make: Make, lr: float, *, now: Make | None = None, to: float, epochs: int = 2, after: int = 1) -> Any:
        _, trainer, _ = train(make, lr, after)
        saved = trainer.checkpoint_callback
        assert saved
        monkeypatch.setenv("LEYDEN_RESUME_FROM", saved.last_model_path)
        for name, value in (("RUN_DIR", "fork"), ("CHECKPOINT_DIR", "fork/checkpoints")):
            monkeypatch.setenv(f"LEYDEN_{name}", str(tmp_path / value))
        found = train(now or make, to, epochs)
        for name in ("RESUME_FROM", "RUN_DIR", "CHECKPOINT_DIR"):
            monkeypatch.delenv(f"LEYDEN_{name}")
        return found

    return fork


@pytest.mark.parametrize("make", [cosine, two_parts, one_cycle, milestones(3, 12), plateau()])
def test_what_is_the_same_goes_on_exactly(make: Make, forked: Callable[..., Any]) -> None:
    whole, _, rates = train(make, 0.05, 3)
    fork, _, more = forked(make, 0.05, to=0.05, epochs=3)
    assert same(weights(whole), weights(fork))
    assert more == rates[8:]


@pytest.mark.parametrize("make", [cosine, two_parts, one_cycle, milestones(3, 12)])
def test_a_schedule_is_followed_as_if_from_the_beginning(make: Make, forked: Callable[..., Any]) -> None:
    expected = train(make, 0.02, 2)[2]
    assert forked(make, 0.05, to=0.02)[2] == pytest.approx(expected[8:], rel=1e-12)


def test_a_schedule_of_another_form_is_followed(forked: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    expected = train(milestones(5, 12), 0.05, 2)[2]
    assert forked(milestones(3, 12), 0.05, now=milestones(5, 12), to=0.05)[2] == expected[8:]
    assert "with settings of its own: MultiStepLR\n" in capsys.readouterr().out


def test_moments_are_the_other_ones_and_the_rest_is_its_own(
    forked: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def sized(decay: float, beta: float) -> Make:
        return lambda module: Adam(module.parameters(), lr=module.lr, betas=(beta, 0.99), weight_decay=decay)

    parent = train(sized(0.0, 0.9), 0.05, 1)[1].optimizers[0].state_dict()["state"]
    _, trainer, rates = forked(sized(0.0, 0.9), 0.05, now=sized(0.1, 0.8), to=0.01, epochs=1)  # nothing more to train
    [optimizer] = trainer.optimizers
    [group] = optimizer.param_groups
    assert rates == []
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.01, (0.8, 0.99), 0.1)
    for index, moments in optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, parent[index][name]) for name, value in moments.items())
    said = (
        "with settings of its own: betas [0.8, 0.99] (was [0.9, 0.99]), lr 0.01 (was 0.05), weight_decay 0.1 (was 0.0)"
    )
    assert said in capsys.readouterr().out


def test_what_a_plateau_has_lowered_stays_as_much_lower(forked: Callable[..., Any]) -> None:
    """The first validation sets the best, no later one is better; the second has cost the other job nine tenths."""
    _, trainer, rates = forked(plateau(), 0.05, now=plateau(3), to=0.02, epochs=3, after=2)
    assert rates == [pytest.approx(0.002)] * 8
    schedule = trainer.schedules[0].scheduler
    assert (schedule.patience, schedule.num_bad_epochs) == (3, 1)


def test_a_path_that_is_asked_for_is_gone_on_from_as_it_stands() -> None:
    _, trainer, _ = train(milestones(3), 0.05, 1)
    saved = trainer.checkpoint_callback
    assert saved
    assert set(train(milestones(3), 0.02, 2, ckpt_path=saved.last_model_path)[2]) == {0.025}
