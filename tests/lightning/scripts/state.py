# mypy: ignore-errors
"""What the trainer says of itself, at many moments."""

import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

import lightning as L

found = {}


def note(moment, trainer):
    if moment in found:
        return
    found[moment] = {
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "training": trainer.training,
        "validating": trainer.validating,
        "testing": trainer.testing,
        "predicting": trainer.predicting,
        "sanity": trainer.sanity_checking,
        "evaluating": trainer.evaluating,
        "fn": str(trainer.state.fn.value),
        "stage": str(trainer.state.stage.value) if trainer.state.stage else None,
        "status": str(trainer.state.status.value),
        "last": trainer.training and bool(trainer.is_last_batch),
        "stop": trainer.should_stop,
        "batches": [trainer.num_training_batches, trainer.num_val_batches],
    }


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        note(f"training_step {self.current_epoch} {batch_idx}", self.trainer)
        self.log("loss", 1.0)
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        note(f"validation_step {self.trainer.sanity_checking}", self.trainer)
        self.log("val_loss", 1.0)

    def test_step(self, batch, batch_idx):
        note("test_step", self.trainer)

    def predict_step(self, batch, batch_idx):
        note("predict_step", self.trainer)

    def on_train_start(self):
        note("on_train_start", self.trainer)

    def on_fit_start(self):
        trainer = self.trainer
        found["devices"] = [
            str(trainer.strategy.root_device),
            str(self.device),
            trainer.world_size,
            trainer.global_rank,
            trainer.local_rank,
            trainer.node_rank,
            trainer.num_nodes,
            trainer.num_devices,
            trainer.is_global_zero,
            self.global_rank,
            self.local_rank,
            str(self.dtype),
            self.on_gpu,
            trainer.strategy.is_global_zero,
        ]
        trainer.strategy.barrier("here")
        found["broadcast"] = trainer.strategy.broadcast({"a": 1})
        found["gathered"] = list(self.all_gather(torch.ones(2)).shape)

    def on_train_batch_start(self, batch, batch_idx):  # noqa: RET503
        if self.current_epoch == 1 and batch_idx == 2:
            return -1

    def on_train_batch_end(self, outputs, batch, batch_idx):
        note(f"on_train_batch_end {self.current_epoch} {batch_idx}", self.trainer)

    def on_train_end(self):
        found["step at the end"] = self.global_step

    def configure_optimizers(self):
        found["estimated"] = self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main():
    L.seed_everything(4)
    stopping, saving, bar = (
        EarlyStopping("val_loss", patience=9),
        ModelCheckpoint(monitor="val_loss"),
        TQDMProgressBar(),
    )
    trainer = L.Trainer(
        max_epochs=3,
        min_epochs=1,
        accelerator="cpu",
        devices=1,
        precision="32-true",
        callbacks=[stopping, saving, bar],
        logger=[CSVLogger("a"), CSVLogger("b", name="c")],
        log_every_n_steps=1,
        enable_model_summary=False,
        default_root_dir="root",
    )
    model = Model()
    train, val = (DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=2) for _ in range(2))
    trainer.fit(model, train, val)
    note("after fit", trainer)
    found["known"] = [
        trainer.checkpoint_callback is saving,
        trainer.checkpoint_callbacks == [saving],
        trainer.early_stopping_callback is stopping,
        trainer.early_stopping_callbacks == [stopping],
        trainer.progress_bar_callback is bar,
        len(trainer.loggers),
        trainer.logger is trainer.loggers[0],
        trainer.train_dataloader is train,
        trainer.val_dataloaders is val,
        trainer.lightning_module is model,
        trainer.model is model,
        len(trainer.optimizers),
        trainer.lr_scheduler_configs,
        trainer.max_epochs,
        trainer.min_epochs,
        trainer.max_steps,
        trainer.min_steps,
        trainer.precision,
        trainer.ckpt_path,
        trainer.interrupted,
        trainer.default_root_dir.rsplit("/", 1)[-1],
        trainer.log_dir.rsplit("/", 3)[-3:],
        trainer.limit_train_batches,
        trainer.val_check_interval,
        trainer.check_val_every_n_epoch,
        trainer.accumulate_grad_batches,
        trainer.gradient_clip_val,
        trainer.log_every_n_steps,
        trainer.fast_dev_run,
        trainer.num_sanity_val_steps,
        sorted(type(one).__name__ for one in trainer.callbacks),
    ]
    trainer.test(model, val, verbose=False)
    found["num_test_batches"] = trainer.num_test_batches
    trainer.predict(model, val)
    found["num_predict_batches"] = trainer.num_predict_batches
    trainer.fit_loop.max_epochs = 4
    trainer.fit(model, train, val)
    found["went on"] = [trainer.current_epoch, trainer.global_step]
    found["after"] = str(trainer.state)
    return found
