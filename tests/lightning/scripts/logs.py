# mypy: ignore-errors
"""`self.log` in all its forms, and where the values show up."""

import csv
import os

import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Watching(L.Callback):
    def __init__(self):
        self.metrics = {}

    def on_train_epoch_end(self, trainer, pl_module):
        found = {k: v for k, v in trainer.callback_metrics.items() if k != "val_both_step"}
        self.metrics[trainer.current_epoch] = found

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pl_module.log("from_callback", outputs["loss"] * 2)


class Model(L.LightningModule):
    def __init__(self, width: int = 3):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, batch_idx):
        value = float(batch_idx)
        self.log("step", value)
        self.log("both", value, on_step=True, on_epoch=True, prog_bar=True)
        self.log("epoch", value, on_step=False, on_epoch=True)
        self.log("highest", value, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("lowest", value + 1, on_step=False, on_epoch=True, reduce_fx=torch.min)
        self.log("total", value, on_step=False, on_epoch=True, reduce_fx=sum if False else torch.sum, sync_dist=True)
        self.log("hidden", value, logger=False, rank_zero_only=True)
        self.log("weighted", value, on_step=False, on_epoch=True, batch_size=batch_idx + 1)
        self.log_dict({"a": value, "b": torch.tensor(value)}, on_step=False, on_epoch=True, prog_bar=True)
        return self.layer(batch[0]).square().mean()

    def on_train_epoch_end(self):
        self.log("at_end", 5.0 + self.current_epoch)

    def on_train_epoch_start(self):
        self.log("at_start", 3.0)

    def validation_step(self, batch, batch_idx):
        self.log("val", float(batch_idx))
        self.log("val_both", float(batch_idx), on_step=True, on_epoch=True)

    def on_validation_epoch_end(self):
        self.log("val_end", 9.0, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main():
    L.seed_everything(4)
    logger = CSVLogger("logs", name="my_exp")
    watching = Watching()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        callbacks=[watching],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    model = Model()
    data = DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=2)
    trainer.fit(model, data, data)
    logger.save()
    with open(os.path.join(trainer.log_dir, "metrics.csv")) as file:  # noqa: PTH118, PTH123
        rows = list(csv.DictReader(file))
    columns = {
        name: [float(row[name]) for row in rows if row.get(name)]
        for name in sorted(rows[0])
        if name not in ("step", "epoch")
    }
    return {
        "callback_metrics": {k: v for k, v in trainer.callback_metrics.items() if k != "val_both_step"},
        "logged": sorted(trainer.logged_metrics),
        "bar": sorted(trainer.progress_bar_metrics),
        "watched": watching.metrics,
        "columns": columns,
        "dir": os.path.relpath(trainer.log_dir),
        "same": trainer.logger.log_dir == trainer.log_dir == logger.log_dir,
        "files": sorted(name for name in os.listdir(logger.log_dir)),  # noqa: PTH208
        "version": logger.version,
        "name": logger.name,
        "next": CSVLogger("logs", name="my_exp").version,
    }
