# mypy: ignore-errors
"""More of checkpoints: last, links, versions, step counts with a metric, weights of another shape, Namespaces."""

import os
from argparse import Namespace
from datetime import timedelta
from pathlib import Path

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Model(L.LightningModule):
    def __init__(self, hparams):
        super().__init__()
        self.save_hyperparameters(hparams)
        self.layer = torch.nn.Linear(self.hparams.width, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("score", float(self.global_step % 5))
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", float(self.global_step % 3))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Larger(L.LightningModule):
    def __init__(self, width=3):
        super().__init__()
        self.strict_loading = False
        self.layer = torch.nn.Linear(width, 1)
        self.head = torch.nn.Linear(1, 1)


def fit(callbacks, epochs=2, ckpt_path=None, **settings):
    L.seed_everything(1)
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    data = DataLoader(TensorDataset(torch.ones(8, 3)), batch_size=2)
    model = Model(Namespace(width=3, names=["a"]))
    trainer.fit(model, data, data, ckpt_path=ckpt_path)
    return trainer, model


def listed(path):
    return sorted(os.listdir(path))  # noqa: PTH208


def main():
    found = {}
    fit([ModelCheckpoint("last", save_last=True, filename="{epoch}")])
    found["last"] = listed("last")
    linked = ModelCheckpoint("linked", save_last="link", filename="{epoch}")
    fit([linked])
    found["linked"] = [listed("linked"), Path("linked/last.ckpt").is_symlink(), Path(linked.last_model_path).name]
    fit([ModelCheckpoint("twice", filename="{epoch}")])
    fit([ModelCheckpoint("twice", filename="{epoch}")])
    found["versions"] = listed("twice")
    fit([ModelCheckpoint("over", filename="same", enable_version_counter=False)])
    fit([ModelCheckpoint("over", filename="same", enable_version_counter=False)])
    found["over"] = listed("over")
    scored = ModelCheckpoint("scored", monitor="score", mode="max", every_n_train_steps=2, save_top_k=2)
    fit([scored], epochs=3)
    found["scored"] = [listed("scored"), Path(scored.best_model_path).name, scored.best_model_score]
    two = [ModelCheckpoint("a", monitor="val"), ModelCheckpoint("b", every_n_epochs=2, save_top_k=-1)]
    fit(two, epochs=4)
    found["two"] = [listed("a"), listed("b")]
    fit([ModelCheckpoint("timed", train_time_interval=timedelta(hours=1), save_last=True)])
    found["timed"] = Path("timed").exists() and listed("timed")
    fit([ModelCheckpoint("none", save_top_k=0)])
    found["none"] = Path("none").exists() and listed("none")
    often = ModelCheckpoint("often", monitor="val", save_top_k=-1, filename="{step}")
    fit([often], epochs=2, val_check_interval=0.5)
    found["often"] = listed("often")
    late = ModelCheckpoint("late", save_on_train_epoch_end=False, save_top_k=-1, filename="{epoch}-{step}")
    fit([late], epochs=4, check_val_every_n_epoch=2)
    found["late"] = listed("late")
    broken = ModelCheckpoint("broken", save_on_exception=True, every_n_epochs=50)
    try:
        fit([broken, Breaks()])
    except ValueError as error:
        found["broken"] = [str(error), len(listed("broken"))]
    trainer, _ = fit([ModelCheckpoint("more", save_last=True)], epochs=3, ckpt_path="last/last.ckpt")
    found["more"] = [trainer.global_step, trainer.current_epoch]
    again = Model.load_from_checkpoint("last/last.ckpt", map_location="cpu")
    found["again"] = [again.hparams.width, again.hparams.names]
    other = Model.load_from_checkpoint("last/last.ckpt", hparams={"width": 3, "names": []})
    found["other"] = other.hparams.width
    larger = Larger.load_from_checkpoint("last/last.ckpt")
    found["larger"] = torch.equal(larger.layer.weight, again.layer.weight)
    named = ModelCheckpoint(dirpath="x", filename="{epoch:03d}-{val/acc:.1f}")
    found["named"] = os.path.relpath(named.format_checkpoint_name({"epoch": 2, "val/acc": torch.tensor(0.25)}))
    return found


class Breaks(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3:
            raise ValueError("enough")
