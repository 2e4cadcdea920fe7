"""What test_ranks.py runs on two ranks: Lightning code over loaders in a dict, strategies' words, files of one rank."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from leyden import lightning
from leyden.lightning.pytorch.callbacks import BasePredictionWriter, ModelCheckpoint
from leyden.lightning.pytorch.loggers import CSVLogger
from leyden.lightning.pytorch.strategies import DDPStrategy
from leyden.lightning.pytorch.utilities import rank_zero_only


@rank_zero_only
def touch(path: Path) -> None:
    path.write_text(os.environ.get("RANK", "0"))


class Writer(BasePredictionWriter):
    def __init__(self) -> None:
        super().__init__("batch")
        self.indices: list[Any] = []

    def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, *rest: Any) -> None:
        self.indices += batch_indices


class Model(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[str, list[float]] = {"a": [], "b": []}
        self.facts: dict[str, Any] = {}

    def on_train_start(self) -> None:
        strategy = self.trainer.strategy
        strategy.barrier()
        self.facts["gathered"] = self.all_gather(torch.tensor(float(self.global_rank))).tolist()
        self.facts["broadcast"] = strategy.broadcast(f"from {self.global_rank}")
        self.facts["sum"] = strategy.reduce(torch.tensor(1.0 + self.global_rank), reduce_op="sum").item()
        self.facts["any"] = strategy.reduce_boolean_decision(self.global_rank == 1, all=False)
        self.facts["all"] = strategy.reduce_boolean_decision(self.global_rank == 1, all=True)
        self.logger.experiment.log_metrics({"by_hand": 1.0}, 0)  # nothing on the second rank
        self.facts["kind"] = type(strategy).__name__
        self.facts["node"] = [self.trainer.node_rank, self.trainer.num_devices, self.trainer.world_size]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for name, part in batch.items():
            self.seen[name] += part[0].flatten().tolist()
        loss = self.layer(batch["a"][0]).square().mean()
        self.log("rank", float(self.global_rank), on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("mean", batch[0].mean(), sync_dist=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch[0]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(count: int, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(float(count)).unsqueeze(1)), batch_size=2, shuffle=shuffle)


def main() -> None:
    lightning.seed_everything(1)
    model, saving, writer = Model(), ModelCheckpoint(monitor="mean", filename="{epoch}-{mean:.1f}"), Writer()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(find_unused_parameters=True),
        max_epochs=1,
        callbacks=[saving, writer],
        logger=CSVLogger("logs"),
        enable_progress_bar=False,
    )
    trainer.fit(model, {"a": loader(16, shuffle=True), "b": loader(8)}, loader(5))
    trainer.predict(model, loader(6))
    touch(Path("touched"))
    model.facts |= {
        "seen": model.seen,
        "indices": writer.indices,
        "best": saving.best_model_path,
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "weights": [one.flatten().tolist() for one in model.parameters()],
        "log_dir": trainer.log_dir,
    }
    Path(os.environ["RESULTS"], f"rank{trainer.global_rank}.json").write_text(json.dumps(model.facts))


if __name__ == "__main__":
    main()
