"""What test_sizes.py runs on four ranks; each writes what it found as JSON."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

import leyden
from leyden.core.errors import ConfigurationError
from leyden.train.memory import is_out_of_memory
from leyden.train.optim import LAMB
from leyden.train.tuning import Tuner
from tests.train.models import Line, loader

RANK = int(os.environ.get("RANK", "0"))
SAMPLE = 2**27


class Hungry(Line):
    """Every sample takes 128 MiB of address space; rank 1 has 7 times as much left."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size, self.failed = 1, 0

    def on_train_start(self) -> None:
        if RANK == 1 and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 7 * SAMPLE, resource.RLIM_INFINITY))

    def train_dataloader(self) -> Any:
        return loader(512, self.batch_size)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        try:
            torch.empty(len(batch[0]) * SAMPLE, dtype=torch.uint8)
        except RuntimeError as error:
            self.failed += is_out_of_memory(error)
            raise
        return super().training_step(batch, batch_idx)


class Scaled(Line):
    """Keeps the rates it is really trained with."""

    def configure_optimizers(self) -> Any:
        self.rates: list[float] = []
        return SGD(self.parameters(), lr=0.1)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.trainer.optimizers[0]
        if not self.rates:
            optimizer.register_step_pre_hook(lambda one, *_: self.rates.append(one.param_groups[0]["lr"]))


class Blocks(leyden.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2))
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> Any:
        return LAMB(self.parameters(), lr=0.05, weight_decay=0.01)


def trainer(**settings: Any) -> leyden.Trainer:
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "enable_checkpointing": False, "max_epochs": 1}
    return leyden.Trainer(devices=4, **{**quiet, **settings})


def digest(module: nn.Module) -> list[float]:
    values = (one.full_tensor() if hasattr(one, "full_tensor") else one for one in module.parameters())
    return [number for one in values for number in one.detach().double().flatten().tolist()]


def main() -> None:
    told: dict[str, Any] = {}
    for strategy in ("ddp", "fsdp"):
        leyden.seed_everything(3)
        blocks = Blocks()
        trainer(strategy=strategy).fit(blocks, loader(64, 4))
        told[strategy] = digest(blocks)
        sweep = Tuner(trainer(strategy=strategy)).lr_find(blocks, loader(64, 4), num_training=20, update_attr=False)
        told[f"{strategy}_sweep"] = sweep and sweep.results["loss"]
        told[f"{strategy}_after"] = digest(blocks)
    leyden.seed_everything(5)
    scaled = Scaled()
    trainer(scale_lr="linear", lr_warmup="4step", max_steps=8, max_epochs=-1).fit(scaled, loader(64, 8))
    told["rates"] = scaled.rates
    leyden.seed_everything(7)
    model, run = Hungry(), trainer()
    sweep = Tuner(run).lr_find(model, loader(256, 2), num_training=40, max_lr=10.0, update_attr=False)
    told["found"] = sweep and sweep.suggestion()
    told["before"] = digest(model)
    told["size"] = Tuner(run).scale_batch_size(model)
    told["after"], told["failed"] = digest(model), model.failed
    run.fit(model)
    told["trained"] = digest(model)
    try:
        Tuner(trainer(strategy="fsdp")).scale_batch_size(Hungry())
    except ConfigurationError as error:
        told["refused"] = str(error)
    Path(f"rank{RANK}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
