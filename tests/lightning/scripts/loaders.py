# mypy: ignore-errors
"""Several loaders at once: for training combined, for validation one after the other."""

import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


def loader(count, value, batch_size=2):
    return DataLoader(TensorDataset(torch.full((count, 3), float(value))), batch_size=batch_size)


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        if isinstance(batch, dict):
            parts = {key: None if part is None else part[0].sum().item() for key, part in batch.items()}
        else:
            parts = [None if part is None else part[0].sum().item() for part in batch]
        self.seen.append(parts)
        first = next(part for part in (batch.values() if isinstance(batch, dict) else batch) if part is not None)
        return self.layer(first[0]).square().mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val", self.layer(batch[0]).square().mean())
        self.log(f"own_{dataloader_idx}", float(batch[0].mean()), add_dataloader_idx=False)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return (dataloader_idx, batch_idx, batch[0].mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main():
    found = {}
    forms = {
        "dict": {"a": loader(8, 1), "b": loader(4, 2)},
        "list": [loader(8, 1), loader(4, 2)],
        "min_size": CombinedLoader({"a": loader(8, 1), "b": loader(4, 2)}, mode="min_size"),
        "max_size": CombinedLoader({"a": loader(8, 1), "b": loader(4, 2)}, mode="max_size"),
    }
    for name, form in forms.items():
        L.seed_everything(0)
        model = Model()
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(model, form, [loader(4, 1), loader(2, 3)])
        found[name] = {
            "seen": model.seen,
            "metrics": dict(trainer.callback_metrics),
            "batches": [trainer.num_training_batches, trainer.num_val_batches],
            "weights": list(model.parameters()),
        }
    found["predicted"] = trainer.predict(model, [loader(4, 1), loader(2, 3)])
    found["validated"] = {
        **(both := trainer.validate(model, [loader(4, 1), loader(2, 3)], verbose=False))[0],
        **both[1],
    }
    sequential = CombinedLoader([loader(4, 1), loader(2, 3)], mode="sequential")
    found["sequential"] = [(batch[0].sum(), index, which) for batch, index, which in iter(sequential)]
    return found
