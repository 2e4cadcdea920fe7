"""A small convolutional net reads handwritten digits: 1,797 real scans of 8×8 pixels that ship with scikit-learn.

The same file runs three ways, unchanged:

    python train.py                       here, on the best device of this machine
    python train.py --devices 2           two ranks of data-parallel training
    leyden run train.py --lr 0.003        as a job: queued, captured, logged, measured
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import leyden

Batch = tuple[Tensor, ...]


class Digits(leyden.DataModule):
    """Images (1, 8, 8) in 0 … 1 and their labels; 1,257 to train, 180 to validate, 360 to test, always the same."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (1797, 1, 8, 8)
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts = order[:1257], order[1257:1437], order[1437:]
        self.train, self.val, self.test = (TensorDataset(images[part], labels[part]) for part in parts)

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.val, 180)

    def test_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.test, 180)


class Classifier(leyden.Module):
    """Two convolutions, one hidden layer, ten classes."""

    def __init__(self, width: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()  # what it was built with: in its checkpoints, and beside its curves
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * 16, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, 8, 8) -> (n, 10) logits."""
        return self.net(images)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score("test", batch)

    def _score(self, stage: str, batch: Batch) -> None:
        images, labels = batch
        logits = self(images)
        self.log(f"{stage}_loss", F.cross_entropy(logits, labels))
        self.log(f"{stage}_acc", (logits.argmax(1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Read handwritten digits.")
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--width", type=int, default=16, help="channels of the first convolution")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-epochs", type=int, default=15)
    parser.add_argument("--devices", default="auto", help='ranks, e.g. 2; "auto" takes what there is')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--checkpoint-every", type=int, help="write a checkpoint every so many steps")
    parser.add_argument("--smoke", action="store_true", help="two epochs, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.max_epochs = 2

    leyden.seed_everything(args.seed)
    data, model = Digits(args.batch_size), Classifier(args.width, args.lr)
    checkpoints = leyden.ModelCheckpoint(
        monitor="val_acc", mode="max", every_n_train_steps=args.checkpoint_every, every_n_epochs=1
    )
    trainer = leyden.Trainer(max_epochs=args.max_epochs, devices=args.devices, callbacks=[checkpoints])
    trainer.fit(model, datamodule=data, ckpt_path=args.ckpt_path)
    [scores] = trainer.test(model, datamodule=data, ckpt_path="best")
    model.print(f"test accuracy {scores['test_acc']:.1%} on 360 scans the model has never seen")
    model.print(f"best checkpoint {checkpoints.best_model_path}")


if __name__ == "__main__":
    main()
