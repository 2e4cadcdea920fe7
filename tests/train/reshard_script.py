"""What test_resharding.py runs: `python reshard_script.py STRATEGY STEPS NAME [CHECKPOINT]`, any number of ranks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden
from leyden.train.callbacks import OnExceptionCheckpoint
from leyden.train.strategies import DDP, FSDP, Strategy

SAMPLES = 48
STRATEGIES: dict[str, Strategy] = {"ddp": DDP(), "fsdp": FSDP(), "parts": FSDP(state_dict="sharded")}


class Tower(leyden.Module):
    """Blocks of uneven sizes, tied weights, and a record of the samples it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 7)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 7)) for _ in range(2))
        self.norm = nn.LayerNorm(7)
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x).sum(-1, keepdim=True)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, number = batch
        self.seen += [(self.trainer.current_epoch, int(one)) for one in number]
        loss = (self(x) - y).square().mean()
        self.log("number", number.double().mean(), on_epoch=True)
        return loss  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Marks(leyden.Callback):
    """Checkpoints of the first and the last moment."""

    def __init__(self, name: str) -> None:
        self.name, self.at = name, (0, 0, 0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.at = (trainer.current_epoch, trainer._fit.batch, trainer.global_step)
        trainer.save_checkpoint(Path(os.environ["RESULTS"], f"begin-{self.name}"))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.save_checkpoint(Path(os.environ["RESULTS"], f"end-{self.name}"))


class Crash(leyden.Callback):
    """Rank 1 fails in its third step; the others lose it."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2 and trainer.global_rank == 1:
            raise ValueError("rank 1 gives up")


def main() -> None:
    strategy, steps, name, *rest = sys.argv[1:]
    x = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True), torch.arange(SAMPLES)), batch_size=4, shuffle=True)
    leyden.seed_everything(3 if not rest else 1234)
    model, marks = Tower(), Marks(name)
    trainer = leyden.Trainer(
        max_epochs=2,
        max_steps=int(steps),
        strategy=STRATEGIES[strategy],
        accelerator="cpu",
        devices=os.environ["DEVICES"],
        callbacks=[marks, *([OnExceptionCheckpoint(os.environ["RESULTS"]), Crash()] if name == "crash" else [])],
        enable_progress_bar=False,
    )
    trainer.fit(model, loader, ckpt_path=rest[0] if rest else None)
    rank = os.environ.get("RANK", "0")
    told = {"seen": model.seen, "at": marks.at, "metrics": trainer.metrics, "first": torch.rand(1).item()}
    Path(os.environ["RESULTS"], f"{name}-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
