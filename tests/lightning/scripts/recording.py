# mypy: ignore-errors
"""Loggers: TensorBoard's experiment, one of one's own, and what they are told."""

import os
from argparse import Namespace
from pathlib import Path

import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class MyLogger(Logger):
    def __init__(self):
        super().__init__()
        self.rows, self.params, self.status = [], {}, []

    @property
    def name(self):
        return "MyLogger"

    @property
    def version(self):
        return "0.1"

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.rows

    @rank_zero_only
    def log_hyperparams(self, params):
        self.params.update(vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_metrics(self, metrics, step):
        self.rows.append(dict(metrics))

    @rank_zero_only
    def save(self):
        super().save()

    @rank_zero_only
    def finalize(self, status):
        self.status.append(status)


class Model(L.LightningModule):
    def __init__(self, width: int = 3, nested=None, **kwargs):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        if self.logger is not None:
            self.logger.log_metrics({"by_hand": 1.0}, step=self.global_step)
        return loss

    def on_train_start(self):
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("note", "hello")
                logger.log_hyperparams({"more": 1}, {"hp/score": 0.5})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main():
    L.seed_everything(0)
    own, board = MyLogger(), TensorBoardLogger("boards", name="first", default_hp_metric=False)
    model = Model(nested={"a": [1, 2]}, extra="x")
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=[own, board, CSVLogger("csv")],
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(TensorDataset(torch.randn(6, 3)), batch_size=2)
    trainer.fit(model, data)
    names = sorted({name for row in own.rows for name in row if name != "epoch"})
    quick = L.Trainer(fast_dev_run=True, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    quick.fit(Model(), data)
    quick.logger.experiment.add_image("nothing", None)
    return {
        "names": names,
        "losses": [row["loss"] for row in own.rows if "loss" in row],
        "params": own.params,
        "status": own.status,
        "first": trainer.logger is own,
        "checkpoints": os.path.relpath(trainer.checkpoint_callback.dirpath),
        "board": [
            board.log_dir[-len("boards/first/version_0") :],
            board.name,
            board.version,
            Path(board.root_dir).name,
        ],
        "events": any("events" in name for name in os.listdir(board.log_dir)),  # noqa: PTH208
        "csv": yaml.safe_load(Path(trainer.loggers[2].log_dir, "hparams.yaml").read_text()),
        "quick": [quick.global_step, type(quick.logger).__name__, quick.checkpoint_callback.best_model_path],
    }
