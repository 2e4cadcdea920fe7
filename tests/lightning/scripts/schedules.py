# mypy: ignore-errors
"""Learning-rate schedules of every form, and what LearningRateMonitor says of them."""

import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self, form):
        super().__init__()
        self.form = form
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", 1.0 + self.current_epoch)

    def configure_optimizers(self):  # noqa: PLR0911
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        if self.form == "list":
            return [optimizer], [ExponentialLR(optimizer, 0.5)]
        if self.form == "step":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LinearLR(optimizer), "interval": "step"}}
        if self.form == "frequency":
            config = {"scheduler": StepLR(optimizer, 1), "interval": "step", "frequency": 2, "name": "my_lr"}
            return {"optimizer": optimizer, "lr_scheduler": config}
        if self.form == "epochs":
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1), "frequency": 2}}
        if self.form == "plateau":
            scheduler = ReduceLROnPlateau(optimizer, patience=0)
            return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}
        if self.form == "nested":
            config = {"scheduler": ReduceLROnPlateau(optimizer, patience=0), "monitor": "val_loss", "strict": True}
            return {"optimizer": optimizer, "lr_scheduler": config}
        steps = self.trainer.estimated_stepping_batches
        config = {"scheduler": OneCycleLR(optimizer, max_lr=0.2, total_steps=steps), "interval": "step"}
        return [optimizer], [config]


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def main():
    found = {}
    for form in ("list", "step", "frequency", "epochs", "plateau", "nested", "one_cycle"):
        L.seed_everything(0)
        model, rates = Model(form), Rates()
        trainer = L.Trainer(
            max_epochs=4,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[rates, LearningRateMonitor()],
            log_every_n_steps=1,
            num_sanity_val_steps=0,
        )
        data = DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=2)
        trainer.fit(model, data, data)
        found[form] = {
            "rates": rates.rates,
            "weights": list(model.parameters()),
            "interval": [config.interval for config in trainer.lr_scheduler_configs],
        }
    return found
