# mypy: ignore-errors
"""ModelCheckpoint in the ways people use it, resuming, and loading."""

import os

import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import lightning as L

SCORES = [0.5, 0.3, 0.4, 0.2, 0.6, 0.7]


class Model(L.LightningModule):
    def __init__(self, width: int = 3, note: str = "none"):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Sequential(torch.nn.Linear(width, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))
        self.extra = 0

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        return {"loss": loss}

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", SCORES[self.current_epoch])
        self.log("val/acc", 1 - SCORES[self.current_epoch])

    def on_save_checkpoint(self, checkpoint):
        checkpoint["something"] = 41

    def on_load_checkpoint(self, checkpoint):
        self.extra = checkpoint["something"] + 1

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def data():
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(12, 3, generator=generator)), batch_size=3)


def fit(callbacks, epochs=6, ckpt_path=None, **settings):
    L.seed_everything(2)
    model = Model(note="kept")
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        **settings,
    )
    trainer.fit(model, data(), data(), ckpt_path=ckpt_path)
    return trainer, model


def told(callback):
    return {
        "best": os.path.basename(callback.best_model_path),  # noqa: PTH119
        "score": callback.best_model_score,
        "kept": sorted(os.path.basename(path) for path in callback.best_k_models),  # noqa: PTH119
        "last": os.path.basename(callback.last_model_path),  # noqa: PTH119
        "files": sorted(os.listdir(callback.dirpath)),  # noqa: PTH208
        "monitor": callback.monitor,
        "kth": callback.kth_value if callback.monitor else None,
    }


def main():
    found = {}
    best = ModelCheckpoint(dirpath="best", filename="{epoch}-{val_loss:.2f}", monitor="val_loss", save_top_k=2)
    trainer, _ = fit([best])
    found["best"] = told(best)
    found["restored"] = Model.load_from_checkpoint(best.best_model_path, width=3).extra
    found["hparams"] = dict(Model.load_from_checkpoint(best.best_model_path).hparams)
    slash = ModelCheckpoint(
        dirpath="slash",
        filename="model-{epoch:02d}-{val/acc:.2f}",
        monitor="val/acc",
        mode="max",
        auto_insert_metric_name=False,
        save_last=True,
    )
    fit([slash])
    found["slash"] = told(slash)
    steps = ModelCheckpoint(dirpath="steps", every_n_train_steps=5, save_top_k=-1, filename="{step}")
    fit([steps], epochs=3)
    found["steps"] = told(steps)
    epochs = ModelCheckpoint(dirpath="epochs", every_n_epochs=2, save_top_k=-1, save_weights_only=True)
    fit([epochs], epochs=4)
    found["epochs"] = told(epochs)
    early = EarlyStopping(monitor="val_loss", patience=2, mode="min")
    stopped, _ = fit([early, ModelCheckpoint(dirpath="early")])
    found["early"] = [stopped.current_epoch, early.stopped_epoch, early.best_score, early.wait_count]
    threshold = EarlyStopping("val_loss", stopping_threshold=0.35)
    found["threshold"] = fit([threshold, ModelCheckpoint(dirpath="thr")])[0].current_epoch
    every = ModelCheckpoint(dirpath="every", save_top_k=-1)
    fit([every], epochs=4)
    half = next(path for path in os.listdir("every") if "epoch=1" in path)  # noqa: PTH208
    resumed, model = fit([ModelCheckpoint(dirpath="resumed")], epochs=4, ckpt_path=f"every/{half}")
    _, straight = fit([ModelCheckpoint(dirpath="whole")], epochs=4)
    found["resumed"] = [resumed.global_step, resumed.current_epoch, model.extra]
    found["straight"] = list(straight.parameters())
    trainer.save_checkpoint("by_hand.ckpt")
    found["by_hand"] = Model.load_from_checkpoint("by_hand.ckpt").hparams.note
    return found
