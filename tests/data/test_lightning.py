"""Does a Loader feed the real Lightning, and does Lightning resume it in mid-epoch?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

import lightning as L
from leyden.data import Loader
from tests.data.trainer_script import SAMPLES, Numbers, augment


class Model(L.LightningModule):  # type: ignore[misc]  # mypy is told to skip Lightning
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)
        self.seen: list[tuple[int, float]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen += zip(batch["number"].tolist(), batch["drawn"].tolist(), strict=True)
        loss: Tensor = (self.net(batch["x"]) - 1).square().mean()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated += batch["number"].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def train(folder: Path, checkpoint: Path | None = None) -> Model:
    L.seed_everything(3, verbose=False)
    model = Model()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=5, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with (
        Loader(Numbers(), batch_size=4, transform=augment, shuffle=True, seed=11, workers=1) as loader,
        Loader(Numbers(), batch_size=7, workers=0) as val,
    ):
        trainer.fit(model, loader, val, ckpt_path=checkpoint, weights_only=False)
    return model


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_lightning_trains_on_a_loader_and_resumes_it(tmp_path: Path) -> None:
    whole = train(tmp_path)
    assert sorted(number for number, _ in whole.seen[:SAMPLES]) == list(range(SAMPLES))
    assert whole.seen[:SAMPLES] != whole.seen[SAMPLES:]
    assert whole.validated == [*range(SAMPLES)] * 2
    rest = train(tmp_path, tmp_path / "step=5.ckpt")  # in the middle of the first epoch
    assert whole.seen[:20] + rest.seen == whole.seen
    assert torch.equal(rest.net.weight, whole.net.weight)
