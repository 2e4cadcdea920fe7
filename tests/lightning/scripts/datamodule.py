# mypy: ignore-errors
"""A data module that downloads, splits and remembers."""

import torch
from torch.utils.data import DataLoader, TensorDataset, random_split

import lightning as L


class RandomDataModule(L.LightningDataModule):
    def __init__(self, data_dir: str = "./data", batch_size: int = 8):
        super().__init__()
        self.save_hyperparameters()
        self.calls = []

    def prepare_data(self):
        self.calls.append("prepare")
        with open("data.pt", "wb") as file:  # noqa: PTH123
            torch.save(torch.randn(60, 5), file)

    def setup(self, stage=None):
        self.calls.append(f"setup {getattr(stage, 'value', stage)} {self.trainer.state.fn.value}")
        full = TensorDataset(torch.load("data.pt"))
        if stage == "fit":
            self.train, self.val = random_split(full, [40, 20], generator=torch.Generator().manual_seed(42))
        if stage in ("test", "predict"):
            self.rest = full

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=self.hparams.batch_size)

    def test_dataloader(self):
        return DataLoader(self.rest, batch_size=self.hparams.batch_size)

    def predict_dataloader(self):
        return DataLoader(self.rest, batch_size=self.hparams.batch_size)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] * (2.0 if self.trainer.training else 1.0)

    def teardown(self, stage):
        self.calls.append(f"teardown {getattr(stage, 'value', stage)}")

    def state_dict(self):
        return {"place": 7}

    def load_state_dict(self, state_dict):
        if self.trainer is None or self.trainer.state.fn == "fit":  # Lightning does so in a test with a checkpoint too
            self.calls.append(f"loaded {state_dict['place']}")


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(5, 2)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layer(batch).square().mean())

    def test_step(self, batch, batch_idx):
        self.log("test", self.layer(batch).square().mean())

    def predict_step(self, batch):
        return self.layer(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main():
    L.seed_everything(3)
    data, model = RandomDataModule(batch_size=10), Model()
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(model, data)
    fitted = {**trainer.callback_metrics}
    [tested] = trainer.test(datamodule=data, ckpt_path="best", verbose=False)
    predicted = trainer.predict(model, datamodule=data)
    same = trainer.datamodule is data
    again = RandomDataModule()
    L.Trainer(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=False).fit(
        Model(), again, ckpt_path=trainer.checkpoint_callback.best_model_path
    )
    loaded = RandomDataModule.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    short = L.LightningDataModule.from_datasets(TensorDataset(torch.ones(6, 5)), batch_size=3)
    return {
        "fitted": fitted,
        "tested": tested,
        "predicted": torch.cat(predicted),
        "calls": data.calls,
        "again": again.calls,
        "same": same,
        "hparams": dict(data.hparams),
        "loaded": [dict(loaded.hparams), loaded.calls],
        "short": len(short.train_dataloader()),
    }
