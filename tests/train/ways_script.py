"""What test_ways_ranks.py runs as two ranks: several trainings one after another; each rank tells what it found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MeanSquaredError

import leyden
from leyden.train.logs.reduction import Reducer
from tests.train.models import Line, loader, seeded
from tests.train.test_ways import Greedy, Words

RANK = int(os.environ.get("RANK", "0"))
found: dict[str, Any] = {}


def trainer(**settings: Any) -> leyden.Trainer:
    return leyden.Trainer(
        **{"devices": 2, "accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False, **settings},
        enable_checkpointing=False,
    )


def flat(module: torch.nn.Module) -> list[float]:
    return [number for value in module.state_dict().values() for number in value.flatten().tolist()]


class Measured(Line):
    """Its metrics see what each rank sees."""

    def __init__(self) -> None:
        super().__init__()
        self.error = MeanSquaredError()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self.net(x)
        self.error.update(out.detach(), y)
        self.log("error", self.error, on_step=False, on_epoch=True)
        loss = (out - y).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx=torch.max)
        self.log(f"only_{self.trainer.global_rank}", float(self.trainer.global_rank), on_step=False, on_epoch=True)
        self.log("first", float(self.trainer.global_rank), on_step=False, on_epoch=True, rank_zero_only=True)
        return loss

    def on_train_start(self) -> None:
        found["draw"] = torch.rand(1).item()

    def on_train_end(self) -> None:
        number = torch.tensor([float(self.trainer.global_rank)])
        found["gathered"] = {name: one.tolist() for name, one in self.all_gather({"a": number, "b": 7}).items()}


class Unannounced(IterableDataset[Tensor]):
    """Three batches for each rank, and nobody knows so."""

    def __iter__(self) -> Any:
        sizes = [(1, 6.0), (5, 0.0), (3, 2.0)] if RANK == 0 else [(2, 1.0), (2, 3.0), (1, 8.0)]
        return iter([torch.full((size,), value) for size, value in sizes])


def main() -> None:
    greedy = Greedy(room=4 if RANK == 0 else 2)
    greedy.load_state_dict(seeded().state_dict())
    trainer(accumulate_grad_batches="auto").fit(greedy, loader(32, batch_size=8))
    found["auto"] = {"sizes": greedy.sizes, "weights": flat(greedy)}
    plain = seeded()
    trainer().fit(plain, loader(32, batch_size=8))
    found["plain"] = flat(plain)

    for by in ("tokens", "batches"):
        words = Words()
        run = trainer(accumulate_grad_batches=2, accumulate_by=by)
        run.fit(words, DataLoader(Unannounced(), batch_size=None))
        found[by] = {"weight": words.weight.item(), "steps": run.global_step}

    leyden.seed_everything(5)
    measured = Measured()
    run = trainer()
    run.fit(measured, loader(32))
    found["metrics"] = run.metrics
    reduce = Reducer(run.plan.world, 1)
    found["reduced"] = [
        reduce({"a": (float(RANK), 1.0)}),
        reduce({f"m{RANK}": (1.0, 1.0)}),
        reduce({f"m{index}": (float(index), 2.0) for index in range(100)})[1]["m99"],
        reduce({}),
    ]
    Path(os.environ["RESULTS"], f"rank{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
