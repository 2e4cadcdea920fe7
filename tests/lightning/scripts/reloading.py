# mypy: ignore-errors
"""Loaders made anew every few epochs, a module that makes its layers late, and one that brings callbacks."""

import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Late(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = None
        self.made = []

    def configure_model(self):
        if self.layer is None:
            self.layer = torch.nn.Linear(3, 1)

    def configure_callbacks(self):
        return [EarlyStopping("loss", patience=50)]

    def train_dataloader(self):
        self.made.append(self.trainer.current_epoch)
        return DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=4)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Changed(Late):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["state_dict"] = {f"old_{name}": value for name, value in checkpoint["state_dict"].items()}

    def on_load_checkpoint(self, checkpoint):
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name.removeprefix("old_"): value for name, value in weights.items()}


def main():
    L.seed_everything(0)
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    model = Late()
    trainer = L.Trainer(max_epochs=4, reload_dataloaders_every_n_epochs=2, enable_checkpointing=False, **settings)
    trainer.fit(model)
    L.seed_everything(1)
    changed = Changed()
    saving = L.Trainer(max_epochs=1, **settings)
    saving.fit(changed)
    path = saving.checkpoint_callback.best_model_path
    loaded = Changed.load_from_checkpoint(path)
    going_on = L.Trainer(max_epochs=2, enable_checkpointing=False, **settings)
    L.seed_everything(2)
    again = Changed()
    going_on.fit(again, ckpt_path=path)
    return {
        "made": model.made,
        "weights": list(model.parameters()),
        "stopping": len(trainer.early_stopping_callbacks),
        "loaded": all(torch.equal(a, b) for a, b in zip(changed.parameters(), loaded.parameters(), strict=True)),
        "again": list(again.parameters()),
        "step": going_on.global_step,
    }
