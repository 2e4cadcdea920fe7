# mypy: ignore-errors
"""Callbacks around the weights, the clock and the losses."""

from datetime import timedelta
from pathlib import Path

import torch
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    EMAWeightAveraging,
    LambdaCallback,
    LearningRateMonitor,
    ModelSummary,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.utilities.model_summary import summarize
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callbacks, epochs=4, **settings):
    L.seed_everything(6)
    model = Model()
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"enable_checkpointing": False, **settings},
    )
    trainer.fit(model, DataLoader(TensorDataset(torch.randn(16, 3)), batch_size=4))
    return trainer, model


def main():
    said = []
    lambdas = LambdaCallback(
        on_train_start=lambda trainer, module: said.append("start"), on_train_end=lambda *_: said.append("end")
    )
    timer = Timer(duration=timedelta(hours=1))
    fit([lambdas, timer, ModelSummary(max_depth=2)], logger=False)
    saving = OnExceptionCheckpoint("saved")
    try:
        fit([saving, LambdaCallback(on_train_epoch_end=lambda *_: 1 / 0)], logger=False, enable_checkpointing=True)
    except ZeroDivisionError:
        said.append(Path(saving.ckpt_path).exists())
    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=0.5, annealing_epochs=1)
    _, averaged = fit([swa], logger=False)
    _, ema = fit([EMAWeightAveraging(decay=0.9)], logger=False)
    fit([DeviceStatsMonitor(cpu_stats=True), LearningRateMonitor("epoch")], log_every_n_steps=1)
    summary = summarize(Model(), max_depth=-1)
    return {
        "said": said,
        "timed": timer.time_elapsed("train") > 0,
        "swa": all(p.isfinite().all() for p in averaged.parameters()),  # Leyden's average is over ends of epochs
        "ema": list(ema.parameters()),
        "sizes": [summary.total_parameters, summary.trainable_parameters, summary.param_nums],
    }
