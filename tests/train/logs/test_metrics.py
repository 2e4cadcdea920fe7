"""Are metric objects logged, reduced, reset and resumed as numbers are?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, MeanSquaredError, MetricCollection
from torchmetrics.regression import MeanAbsoluteError

import leyden
from leyden.core.errors import ConfigurationError
from tests.train.models import Line, loader


def quiet(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(enable_progress_bar=False, accelerator="cpu", num_sanity_val_steps=0, **settings)


class Measured(Line):
    def __init__(self) -> None:
        super().__init__()
        self.error = MeanSquaredError()
        self.both = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()}, prefix="val_")
        self.seen: list[float] = []
        self.epochs: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self.net(x)
        self.seen.append(float(self.error(out.detach(), y)))
        self.log("error", self.error, on_step=True, on_epoch=True)
        return (out - y).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.both.update(self.net(x), y)
        self.log_dict(self.both)

    def on_train_epoch_end(self) -> None:
        self.epochs.append(self.trainer.metrics["error_epoch"])


def test_an_object_is_computed_at_the_epochs_end_and_reset() -> None:
    model, trainer = Measured(), quiet(max_epochs=2, enable_checkpointing=False)
    trainer.fit(model, loader(32), loader(16))
    steps = model.seen
    assert model.epochs == pytest.approx([sum(steps[:4]) / 4, sum(steps[4:]) / 4])
    assert trainer.metrics["error_step"] == pytest.approx(steps[-1])
    x, y = next(iter(loader(16, batch_size=16)))
    with torch.no_grad():
        out = model.eval().net(x)
    assert trainer.metrics["val_mse"] == pytest.approx(float((out - y).square().mean()))
    assert trainer.metrics["val_mae"] == pytest.approx(float((out - y).abs().mean()))


def test_a_resumed_epoch_counts_what_came_before(tmp_path: Path) -> None:
    class Stopping(leyden.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "three")

    leyden.seed_everything(3)
    whole = Measured()
    quiet(max_epochs=1, enable_checkpointing=False, callbacks=Stopping()).fit(whole, loader(64))
    rest = Measured()
    quiet(max_epochs=1, enable_checkpointing=False).fit(rest, loader(64), ckpt_path=tmp_path / "three")
    assert rest.epochs == whole.epochs
    assert rest.seen == whole.seen[3:]


def test_what_cannot_be_logged() -> None:
    class Updated(Measured):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.error.update(self.net(batch[0]), batch[1])
            self.log("error", self.error)
            return self.net(batch[0]).mean()

    with pytest.raises(ConfigurationError, match="updated but not called"):
        quiet(max_epochs=1).fit(Updated(), loader())


def test_a_metric_that_is_not_a_module() -> None:
    class Weighted(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("mean", self.mean, on_step=False, on_epoch=True)
            self.mean.update(float(batch_idx), weight=batch_idx)
            return super().training_step(batch, batch_idx)

        def on_fit_start(self) -> None:
            self.mean = MeanMetric()

    trainer = quiet(max_epochs=1, limit_train_batches=4, enable_checkpointing=False)
    trainer.fit(Weighted(), loader())
    assert trainer.metrics["mean"] == pytest.approx((1 + 4 + 9) / (1 + 2 + 3))
