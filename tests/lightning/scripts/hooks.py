# mypy: ignore-errors
"""Every hook of module, data module and callback, in the order they come."""

import torch
from torch.utils.data import DataLoader, TensorDataset

import lightning as L

seen = []

STAGES = ("fit", "train", "validation", "test", "predict")
MOMENTS = ("start", "end", "epoch_start", "epoch_end", "batch_start", "batch_end", "model_eval", "model_train")
MODULE = [f"on_{stage}_{moment}" for stage in STAGES for moment in MOMENTS]
MODULE.remove("on_predict_model_train")  # there is none
MODULE += ["setup", "teardown", "prepare_data", "configure_model", "configure_callbacks", "backward"]
MODULE += ["on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad"]
MODULE += ["optimizer_zero_grad", "configure_gradient_clipping", "on_save_checkpoint", "on_load_checkpoint"]
DATA = ["prepare_data", "setup", "teardown", "state_dict", "load_state_dict"]
DATA += ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]
CALLBACK = [
    name
    for name in dir(L.Callback)
    if name in ("setup", "teardown", "state_dict", "load_state_dict")
    or (name.startswith("on_") and name != "on_checkpoint_due")
]


def recorded(owner, base, names):
    def make(name, original):
        def hook(self, *args, **kwargs):
            seen.append(f"{owner}.{name}")
            return original(self, *args, **kwargs)

        return hook

    return {name: make(name, getattr(base, name)) for name in names if hasattr(base, name)}


Recorder = type("Recorder", (L.Callback,), recorded("callback", L.Callback, CALLBACK))


class Plain(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        seen.append("module.training_step")
        return self.layer(batch[0]).square().mean()

    def validation_step(self, batch, batch_idx):
        seen.append("module.validation_step")
        return self.layer(batch[0]).square().mean()

    def test_step(self, batch, batch_idx):
        seen.append("module.test_step")

    def predict_step(self, batch, batch_idx):
        seen.append("module.predict_step")
        return self.layer(batch[0])

    def configure_optimizers(self):
        seen.append("module.configure_optimizers")
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}

    def lr_scheduler_step(self, scheduler, metric):
        seen.append("module.lr_scheduler_step")
        scheduler.step()


Model = type("Model", (Plain,), recorded("module", Plain, MODULE))


class PlainData(L.LightningDataModule):
    def loader(self):
        return DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=4)

    def train_dataloader(self):
        seen.append("data.train_dataloader")
        return self.loader()

    def val_dataloader(self):
        seen.append("data.val_dataloader")
        return self.loader()

    def test_dataloader(self):
        seen.append("data.test_dataloader")
        return self.loader()

    def predict_dataloader(self):
        seen.append("data.predict_dataloader")
        return self.loader()


Data = type("Data", (PlainData,), recorded("data", PlainData, DATA))


# Leyden makes loaders before optimizers, for it counts the steps of training first; moves schedules after an epoch,
# not before its validation; asks data for their state before callbacks; tells callbacks of a checkpoint after
# optimizers are made, for some add parameters to them.
ELSEWHERE = ("_dataloader", "lr_scheduler_step", "data.state_dict", "callback.on_load_checkpoint")


def told():
    found = [one for one in seen if not one.endswith(ELSEWHERE)]
    seen.clear()
    return found


def main():
    L.seed_everything(0)
    settings = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = L.Trainer(max_epochs=2, num_sanity_val_steps=1, callbacks=[Recorder()], gradient_clip_val=1.0, **settings)
    model, data = Model(), Data()
    found = {}
    trainer.fit(model, datamodule=data)
    found["fit"] = told()
    trainer.validate(model, datamodule=data, verbose=False)
    found["validate"] = told()
    trainer.test(model, datamodule=data, verbose=False)
    found["test"] = told()
    trainer.predict(model, datamodule=data)
    found["predict"] = told()
    accumulating = L.Trainer(
        max_epochs=1,
        accumulate_grad_batches=2,
        limit_train_batches=2,
        limit_val_batches=0,
        enable_checkpointing=False,
        **settings,
    )
    accumulating.fit(Model(), Data())
    found["accumulating"] = told()
    trainer.save_checkpoint("last.ckpt")
    seen.clear()
    L.Trainer(max_epochs=3, num_sanity_val_steps=0, callbacks=[Recorder()], **settings).fit(
        Model(), datamodule=Data(), ckpt_path="last.ckpt"
    )
    found["resumed"] = told()
    return found
