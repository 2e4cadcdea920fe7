"""The same on an NVIDIA GPU: learning, mixed precision, places of tensors, resume. Skipped where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leyden
from tests.train.models import Line, loader, seeded, weights

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_learns_on_the_gpu(precision: str) -> None:
    class Looks(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert batch[0].device.type == self.device.type == "cuda"
            return super().training_step(batch, batch_idx)

    model = Looks()
    trainer = leyden.Trainer(max_epochs=30, devices=1, precision=precision, enable_progress_bar=False)
    trainer.fit(model, loader(), loader(32))
    assert trainer.plan.device == torch.device("cuda", 0)
    assert trainer.metrics["val_loss"] < 0.2


def test_resumes_on_the_gpu() -> None:
    saves = leyden.ModelCheckpoint(every_n_train_steps=3, save_top_k=-1)
    settings: dict[str, Any] = {"max_epochs": 2, "devices": 1, "enable_progress_bar": False}
    whole = seeded(dropout=0.3)
    leyden.Trainer(**settings, callbacks=[saves], default_root_dir="whole").fit(whole, loader())
    resumed = Line(dropout=0.3)
    path = next(path for path in saves._kept if path.endswith("step=12"))
    leyden.Trainer(**settings, default_root_dir="resumed").fit(resumed, loader(), ckpt_path=path)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        torch.testing.assert_close(one, other)
