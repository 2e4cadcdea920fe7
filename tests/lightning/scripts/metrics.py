# mypy: ignore-errors
"""torchmetrics objects, logged as they are, computed by hand, and as a collection."""

import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lightning as L


class Classifier(L.LightningModule):
    def __init__(self, num_classes=3):
        super().__init__()
        self.layer = nn.Linear(4, num_classes)
        self.train_acc = torchmetrics.classification.Accuracy(task="multiclass", num_classes=num_classes)
        self.valid_acc = torchmetrics.classification.Accuracy(task="multiclass", num_classes=num_classes)
        metrics = torchmetrics.MetricCollection(
            {
                "recall": torchmetrics.classification.MulticlassRecall(num_classes),
                "precision": torchmetrics.classification.MulticlassPrecision(num_classes),
            }
        )
        self.test_metrics = metrics.clone(prefix="test_")
        self.mean = torchmetrics.MeanMetric()

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.layer(x)
        self.train_acc(logits, y)
        self.log("train_acc", self.train_acc, on_step=True, on_epoch=True)
        loss = nn.functional.cross_entropy(logits, y)
        self.mean.update(loss)
        return loss

    def on_train_epoch_end(self):
        self.log("mean_loss", self.mean.compute())
        self.mean.reset()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.valid_acc.update(self.layer(x), y)
        self.log("valid_acc", self.valid_acc, on_step=False, on_epoch=True, prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        output = self.test_metrics(self.layer(x), y)
        assert set(output) == {"test_recall", "test_precision"}
        self.log_dict(self.test_metrics)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


def main():
    L.seed_everything(11)
    x = torch.randn(30, 4)
    data = TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
    model = Classifier()
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1
    )
    trainer.fit(model, DataLoader(data, batch_size=7), DataLoader(data, batch_size=7))
    fitted = dict(trainer.callback_metrics)
    tested = trainer.test(model, DataLoader(data, batch_size=7), verbose=False)
    return {"fitted": fitted, "tested": tested}
