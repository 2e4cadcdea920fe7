"""What test_trainer.py runs: `python trainer_script.py RANKS NAME STEPS CHECKPOINT [NAME …]` trains on Loaders.

One training after another; CHECKPOINT is where it goes on, or "new".
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import leyden
from leyden.data import Loader

SAMPLES, BATCH = 50, 4


class Numbers:
    """Sample i is i and a few features of it."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"number": index, "x": np.sin(np.arange(4, dtype=np.float32) * (index + 1))}


def augment(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**sample, "x": sample["x"] + rng.normal(0, 0.1, 4).astype(np.float32), "drawn": rng.random()}


class Model(leyden.Module):
    """Remembers the samples it was given, and the random number each came with."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)
        self.seen: list[tuple[int, int, float]] = []
        self.validated: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        epoch = self.trainer.current_epoch
        self.seen += [(epoch, int(n), float(r)) for n, r in zip(batch["number"], batch["drawn"], strict=True)]
        loss: Tensor = (self.net(batch["x"]) - 1).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated += batch["number"].tolist()
        self.log("val_number", batch["number"].double().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def train(name: str, ranks: str, steps: str, checkpoint: str) -> None:
    leyden.seed_everything(3)
    folder, model = Path(os.environ["RESULTS"]), Model()
    train = Loader(Numbers(), batch_size=BATCH, transform=augment, shuffle=True, seed=11, workers=2, kind="process")
    val = Loader(Numbers(), batch_size=7, workers=0)
    trainer = leyden.Trainer(
        max_epochs=3, max_steps=int(steps), devices=int(ranks), accelerator="cpu", enable_checkpointing=False
    )
    with train, val:
        trainer.fit(model, train, val, ckpt_path=None if checkpoint == "new" else folder / checkpoint)
        trainer.save_checkpoint(folder / name)
    told = {
        "seen": model.seen,
        "validated": model.validated,
        "val_number": float(trainer.callback_metrics.get("val_number", -1)),
        "weights": [one.tolist() for one in model.parameters()],
        "run": str(trainer.run.path) if trainer.run else None,
    }
    (folder / f"{name}-{trainer.global_rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    ranks, *trainings = sys.argv[1:]
    for name, steps, checkpoint in zip(*(iter(trainings),) * 3, strict=True):
        train(name, ranks, steps, checkpoint)
