# mypy: ignore-errors
"""Predictions written by a callback, batch by batch or at the end."""

import os

import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class CustomWriter(BasePredictionWriter):
    def __init__(self, output_dir, write_interval):
        super().__init__(write_interval)
        self.output_dir = output_dir
        self.indices = []

    def write_on_batch_end(self, trainer, pl_module, prediction, batch_indices, batch, batch_idx, dataloader_idx):
        torch.save(prediction, os.path.join(self.output_dir, f"{dataloader_idx}-{batch_idx}.pt"))  # noqa: PTH118
        self.indices.append(batch_indices)

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        torch.save(predictions, os.path.join(self.output_dir, "predictions.pt"))  # noqa: PTH118
        self.indices.append(batch_indices)


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, batch):
        return self.layer(batch[0])


def main():
    L.seed_everything(9)
    os.makedirs("out")  # noqa: PTH103
    writer = CustomWriter("out", "batch_and_epoch")
    trainer = L.Trainer(accelerator="cpu", callbacks=[writer], logger=False, enable_progress_bar=False)
    model = Model()
    loader = DataLoader(TensorDataset(torch.randn(10, 3)), batch_size=4)
    returned = trainer.predict(model, loader, return_predictions=False)
    return {
        "returned": returned,
        "files": sorted(os.listdir("out")),  # noqa: PTH208
        "last": torch.load("out/0-2.pt"),
        "all": torch.cat(torch.load("out/predictions.pt")),
        "indices": writer.indices,
    }
