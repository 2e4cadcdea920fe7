# mypy: ignore-errors
"""Accumulation, clipping, limits, intervals of validation: how the settings of the Trainer act."""

import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities import grad_norm
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))
        self.counts = {"train": 0, "val": 0}
        self.norms = []

    def training_step(self, batch, batch_idx):
        self.counts["train"] += 1
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer):
        self.norms.append(float(grad_norm(self, norm_type=2)["grad_2.0_norm_total"]))

    def validation_step(self, batch, batch_idx):
        self.counts["val"] += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


SETTINGS = {
    "plain": {"max_epochs": 2},
    "accumulate": {"max_epochs": 2, "accumulate_grad_batches": 2},
    "accumulate_schedule": {"max_epochs": 3, "callbacks": [GradientAccumulationScheduler(scheduling={0: 1, 1: 4})]},
    "clip_norm": {"max_epochs": 2, "gradient_clip_val": 0.01},
    "clip_value": {"max_epochs": 2, "gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "max_steps": {"max_steps": 11},
    "steps_and_epochs": {"max_steps": 100, "max_epochs": 1},
    "limits": {"max_epochs": 2, "limit_train_batches": 0.5, "limit_val_batches": 3},
    "val_interval": {"max_epochs": 1, "val_check_interval": 0.25},
    "val_batches": {"max_epochs": 1, "val_check_interval": 3},
    "val_across": {"max_epochs": 3, "val_check_interval": 12, "check_val_every_n_epoch": None},
    "val_epochs": {"max_epochs": 4, "check_val_every_n_epoch": 2},
    "overfit": {"max_epochs": 3, "overfit_batches": 2},
    "fast": {"fast_dev_run": True},
    "fast3": {"fast_dev_run": 3},
    "no_val": {"max_epochs": 1, "limit_val_batches": 0},
    "max_time": {"max_epochs": 2, "max_time": {"hours": 1}},
    "double": {"max_epochs": 1, "precision": "64-true"},
    "bf16": {"max_epochs": 1, "precision": "bf16-mixed"},
    "barebones": {"max_epochs": 1, "barebones": True},
    "anomaly": {"max_epochs": 1, "detect_anomaly": True, "deterministic": True},
}


def main():
    found = {}
    for name, settings in SETTINGS.items():
        L.seed_everything(6)
        model = Model()
        if name == "barebones":
            model.on_before_optimizer_step = lambda optimizer: None
            quiet = {}
        else:
            quiet = {
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "logger": False,
                "enable_checkpointing": False,
            }
        trainer = L.Trainer(accelerator="cpu", **quiet, **settings)
        loader = DataLoader(TensorDataset(torch.randn(32, 3)), batch_size=4, shuffle=True)
        trainer.fit(model, loader, DataLoader(TensorDataset(torch.randn(16, 3)), batch_size=4))
        found[name] = {
            "counts": model.counts,
            "step": trainer.global_step,
            "epoch": trainer.current_epoch if name != "max_steps" else None,  # Leyden does not count part of one
            "weights": list(model.parameters()),
            "norms": model.norms,
        }
    return found
