"""What test_uneven.py runs as `python uneven_script.py`: ranks whose loaders hold different numbers of batches."""

from __future__ import annotations

import json
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import leyden
from leyden.core.errors import ConfigurationError
from tests.train.models import Line, regression

RANK = int(os.environ.get("RANK", "0"))
DATA = regression(64)


class Counted(Line):
    """Remembers what it was given; its random numbers mingle with those of the data."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.seen: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(round(float(batch[0][0, 0]), 6))
        return super().training_step(batch, batch_idx)


class Stream(IterableDataset[Any]):
    """6 samples on rank 0 and 9 on rank 1, each a little changed by random numbers of two kinds."""

    def __init__(self, counts: tuple[int, int]) -> None:
        self.counts = counts

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.counts[RANK % 2]):
            x, y = DATA[2 * index + RANK]
            yield x + torch.rand(()) + random.random(), y


class Sized:
    """A loader that shards itself and knows its length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return iter(DataLoader(regression(2 * self.count), batch_size=2))

    def state_dict(self) -> dict[str, Any]:
        return {}


def stream(*counts: int) -> Any:
    return DataLoader(Stream((counts[0], counts[1])), batch_size=1)


def fit(loader: Any, **settings: Any) -> tuple[Counted, leyden.Trainer, list[str]]:
    leyden.seed_everything(1)
    model, ckpt = Counted(), settings.pop("ckpt_path", None)
    trainer = leyden.Trainer(accelerator="cpu", enable_progress_bar=False, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, loader, ckpt_path=ckpt)
    return model, trainer, [str(one.message) for one in caught if "left" in str(one.message)]


def digest(module: nn.Module) -> list[float]:
    return [value for one in module.state_dict().values() for value in one.double().flatten().tolist()]


def main() -> None:
    told: dict[str, Any] = {}
    plain = {"max_epochs": 2, "enable_checkpointing": False}
    model, trainer, said = fit(Sized(5 + 2 * RANK), **plain)
    told["known"] = [trainer.global_step, len(model.seen), said]
    model, trainer, said = fit(stream(6, 9), **plain)
    told["unknown"] = [trainer.global_step, len(model.seen), said]
    model, trainer, said = fit(stream(6, 9), accumulate_grad_batches=4, **plain)
    told["window"] = [trainer.global_step, len(model.seen), digest(model)]
    model, trainer, said = fit(stream(6, 9), accumulate_grad_batches=4, strategy="fsdp", **plain)
    told["fsdp"] = [trainer.global_step, len(model.seen)]
    model, trainer, said = fit(stream(6, 9), limit_train_batches=4, **plain)
    told["limit"] = [trainer.global_step, len(model.seen)]
    try:
        fit(stream(0, 3), **plain)
    except ConfigurationError as error:
        told["none"] = str(error)

    folder = Path(os.environ["RESULTS"], "saved")
    save = leyden.ModelCheckpoint(dirpath=folder, every_n_train_steps=3, save_top_k=-1)
    whole, trainer, _ = fit(stream(6, 9), max_epochs=2, callbacks=[save])
    told["whole"] = digest(whole)
    [middle] = folder.glob("*step=9")
    resumed, _, _ = fit(stream(6, 9), max_epochs=2, ckpt_path=middle, enable_checkpointing=False)
    told["resumed"], told["rest"] = digest(resumed), resumed.seen == whole.seen[9:]
    Path(os.environ["RESULTS"], f"rank{RANK}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
