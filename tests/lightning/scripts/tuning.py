# mypy: ignore-errors
"""The learning-rate finder and the batch-size finder."""

import torch
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self, learning_rate=1e-3, batch_size=2):
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        return DataLoader(TensorDataset(torch.randn(64, 3, generator=generator)), batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)


def main():
    L.seed_everything(8)
    model = Model()
    before = [p.clone() for p in model.parameters()]
    settings = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(max_epochs=1, enable_checkpointing=False, **settings)
    tuner = Tuner(trainer)
    finder = tuner.lr_find(model, min_lr=1e-4, max_lr=1.0, num_training=20)
    suggestion = finder.suggestion()
    same = all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    size = tuner.scale_batch_size(model, mode="power", max_trials=3, init_val=4)
    trainer.fit(model)
    return {
        "lrs": len(finder.results["lr"]) > 15,
        "first": finder.results["lr"][0],
        "suggested": 1e-4 <= suggestion <= 1.0,
        "set": model.learning_rate == suggestion,
        "same": same,
        "size": size,
        "attribute": model.batch_size == size,
        "steps": trainer.global_step,
    }
