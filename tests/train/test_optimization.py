"""Are steps taken as they should be: by hand, by several optimizers, in other precisions, through closures?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import leyden
from leyden.core.errors import CheckpointError, ConfigurationError
from tests.train.models import Line, loader, same, seeded, weights


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(
        **{"enable_progress_bar": False, "accelerator": "cpu", "enable_checkpointing": False, **settings}
    )


class ByHand(Line):
    """The same steps as Line's, taken in training_step."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Pair(leyden.Module):
    """Two nets, two optimizers, two schedules, as a GAN has; one learns x, the other the first one's error."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(4, 1), nn.Linear(4, 1)
        self.frozen: list[tuple[bool, bool]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        one, two = self.optimizers()
        for optimizer, loss in ((one, self._first_loss), (two, self._second_loss)):
            self.toggle_optimizer(optimizer)
            self.frozen.append((self.first.weight.requires_grad, self.second.weight.requires_grad))
            value = loss(x, y)
            self.log("first" if optimizer is one else "second", value)
            self.manual_backward(value)
            self.clip_gradients(optimizer, gradient_clip_val=10.0)
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)
        for schedule in self.lr_schedulers():
            schedule.step()

    def _first_loss(self, x: Any, y: Any) -> Any:
        return (self.first(x) - y).square().mean()

    def _second_loss(self, x: Any, y: Any) -> Any:
        return (self.second(x) - (y - self.first(x).detach())).square().mean()

    def configure_optimizers(self) -> Any:
        optimizers = [
            torch.optim.Adam(self.first.parameters(), lr=0.05),
            torch.optim.SGD(self.second.parameters(), lr=0.05),
        ]
        return optimizers, [torch.optim.lr_scheduler.StepLR(one, 8, gamma=0.9) for one in optimizers]


def test_by_hand_equals_automatic() -> None:
    automatic, hand = seeded(dropout=0.2), None
    trainer = quiet(max_epochs=3)
    trainer.fit(automatic, loader(shuffle=True))
    leyden.seed_everything(7)
    hand = ByHand(dropout=0.2)
    other = quiet(max_epochs=3)
    other.fit(hand, loader(shuffle=True))
    assert same(weights(automatic), weights(hand))
    assert other.global_step == trainer.global_step == 24


def test_two_optimizers_take_turns() -> None:
    leyden.seed_everything(7)
    model, trainer = Pair(), quiet(max_epochs=20)
    trainer.fit(model, loader())
    assert trainer.global_step == 2 * 20 * 8
    assert set(model.frozen) == {(True, False), (False, True)}
    assert all(one.requires_grad for one in model.parameters())
    assert trainer.metrics["first"] < 0.5
    assert trainer.metrics["second"] < 0.5


def test_two_optimizers_resume_exactly() -> None:
    class Crash(leyden.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("crash")

    leyden.seed_everything(7)
    whole = Pair()
    quiet(max_epochs=4, enable_checkpointing=True, default_root_dir="whole").fit(whole, loader(shuffle=True))
    leyden.seed_everything(7)
    with pytest.raises(RuntimeError, match="crash"):
        quiet(max_epochs=4, enable_checkpointing=True, callbacks=[Crash()]).fit(Pair(), loader(shuffle=True))
    resumed = Pair()
    quiet(max_epochs=4, enable_checkpointing=True).fit(resumed, loader(shuffle=True), ckpt_path="last")
    assert same(weights(whole), weights(resumed))
    with pytest.raises(CheckpointError, match="configure_optimizers now returns 1"):
        quiet(max_epochs=4).fit(OneOfTwo(), loader(), ckpt_path="last")


class OneOfTwo(Pair):
    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.first.parameters())


def test_a_schedule_that_may_be_none() -> None:
    seen: list[Any] = []

    class Looks(ByHand):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(self.lr_schedulers())
            super().training_step(batch, batch_idx)

    quiet(max_steps=1).fit(Looks(), loader())
    assert seen == [None]


@pytest.mark.parametrize(
    ("precision", "inside", "kept"),
    [
        ("32-true", torch.float32, torch.float32),
        ("64-true", torch.float64, torch.float64),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("bf16-mixed", torch.bfloat16, torch.float32),
        ("16-mixed", torch.float16, torch.float32),
    ],
)
def test_precisions(precision: str, inside: torch.dtype, kept: torch.dtype) -> None:
    seen: set[torch.dtype] = set()

    class Looks(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.add(self.net(batch[0]).dtype)
            if precision.endswith("true"):
                seen.add(torch.zeros(1).dtype)  # what a Module makes inside a step has the plan's precision too
            return super().training_step(batch, batch_idx)

    leyden.seed_everything(7)
    model = Looks()
    trainer = quiet(max_epochs=20, precision=precision)
    trainer.fit(model, loader(), loader(16))
    assert seen == {inside}
    assert {one.dtype for one in model.parameters()} == {kept}
    assert torch.zeros(1).dtype == torch.float32
    assert trainer.metrics["val_loss"] < 0.5
    assert model.losses[0] > 1.0


def test_half_precision_scales_its_losses_and_resumes() -> None:
    whole = seeded()
    trainer = quiet(max_epochs=4, precision="16-mixed", enable_checkpointing=True, default_root_dir="whole")
    trainer.fit(whole, loader())
    first = seeded()
    saves = leyden.ModelCheckpoint(save_top_k=-1)
    quiet(max_epochs=4, precision="16-mixed", callbacks=[saves], enable_checkpointing=True).fit(first, loader())
    path = next(path for path in saves._kept if "epoch=2-" in path)
    resumed = Line()
    quiet(max_epochs=4, precision="16-mixed").fit(resumed, loader(), ckpt_path=path)
    assert same(weights(whole), weights(resumed))


def test_lbfgs_calls_for_its_losses() -> None:
    calls: list[int] = []

    class Newton(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            calls.append(batch_idx)
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters(), max_iter=5)

    trainer = quiet(max_epochs=2)
    trainer.fit(Newton(), loader(64, 64), loader(64))
    assert len(calls) > 2
    assert trainer.global_step == 2
    assert trainer.metrics["val_loss"] < 0.5
    with pytest.raises(ConfigurationError, match="cannot scale its losses"):
        quiet(max_epochs=1, precision="16-mixed").fit(Newton(), loader())


def test_the_modules_own_ways() -> None:
    """Every step of the way can be done differently, and is then done only that way."""
    seen: list[str] = []

    class Own(Line):
        def backward(self, loss: Any, *args: Any, **kwargs: Any) -> None:
            seen.append("backward")
            loss.backward()

        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
        ) -> None:
            seen.append(f"clip {gradient_clip_val} {gradient_clip_algorithm}")

        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            seen.append(f"step {epoch} {batch_idx}")
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            seen.append("zero")
            optimizer.zero_grad()

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            seen.append("schedule")
            scheduler.step()

        def on_before_backward(self, loss: Any) -> None:
            seen.append("before backward")

        def on_after_backward(self) -> None:
            seen.append("after backward")

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            seen.append("before step")

        def on_before_zero_grad(self, optimizer: Any) -> None:
            seen.append("before zero")

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "interval": "step"}]

    quiet(max_steps=1, gradient_clip_val=0.5, num_sanity_val_steps=0).fit(Own(), loader())
    assert seen == [
        "step 0 0",
        "before zero",
        "zero",
        "before backward",
        "backward",
        "after backward",
        "before step",
        "clip 0.5 norm",
        "schedule",
    ]


def test_an_overridden_step_changes_nothing_else() -> None:
    class Own(Line):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

    plain = seeded(dropout=0.2)
    quiet(max_epochs=2, accumulate_grad_batches=3).fit(plain, loader(20, 4))
    leyden.seed_everything(7)
    own = Own(dropout=0.2)
    quiet(max_epochs=2, accumulate_grad_batches=3).fit(own, loader(20, 4))
    assert same(weights(plain), weights(own))


def test_the_rest_of_an_epoch_can_be_skipped() -> None:
    class Skips(Line):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 3 else None

    trainer = quiet(max_epochs=2)
    trainer.fit(Skips(), loader(), loader(8))
    assert trainer.global_step == 6
    assert trainer.current_epoch == 2
    assert "val_loss" in trainer.metrics


class Forgetful(Line):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Does not call the closure."""


class TwoAutomatic(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = True


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        (Forgetful, {}, "did not call the closure"),
        (Forgetful, {"precision": "16-mixed"}, "cannot scale its losses"),
        (TwoAutomatic, {}, "Set self.automatic_optimization = False"),
        (ByHand, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (ByHand, {"gradient_clip_val": 1.0}, r"self\.clip_gradients"),
    ],
)
def test_mistakes(model: type[leyden.Module], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        quiet(max_epochs=1, **settings).fit(model(), loader())


def test_outside_of_fit_there_are_no_optimizers() -> None:
    with pytest.raises(ConfigurationError, match="it is not being trained"):
        seeded().optimizers()


def test_freeze_and_unfreeze() -> None:
    model = seeded()
    model.freeze()
    assert not any(one.requires_grad for one in model.parameters())
    assert not model.training
    model.unfreeze()
    assert all(one.requires_grad for one in model.parameters())
    assert model.training


def test_the_metric_of_a_plateau_may_stand_beside_it() -> None:
    class Plateau(Line):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=1e9)
            return {"optimizer": optimizer, "lr_scheduler": schedule, "monitor": "train_loss"}

    trainer = quiet(max_epochs=3)
    trainer.fit(Plateau(lr=0.0), loader())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)
