"""A net that has read printed digits, which cost nothing, learns to read handwriting from one scan of each digit.

Printed digits are rendered, as many as wanted. The net trained on them is saved; its checkpoint is loaded, frozen but
for the head, and thawed layer by layer on ten labelled scans. The same net trained from scratch on the same scans, for
as many steps, is what to beat.

python train.py                                 seconds on one core
python train.py --labels 10                     the more labels, the less there is to win
python train.py --pretrained CHECKPOINT         without the first task
leyden run examples/transfer/train.py           as a job
python train.py --smoke                         does everything run, and does transfer win?
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import leyden
from leyden.train.callbacks import BaseFinetuning

Batch = list[Tensor]
Loader = DataLoader[tuple[Tensor, ...]]


def print_digit(digit: int, rng: np.random.Generator) -> Image.Image:
    """One printed digit, thinner or bolder, tilted, narrower or wider, as coarse as the scans: 8×8."""
    page = Image.new("L", (64, 64))
    font, bold = ImageFont.load_default(float(rng.uniform(36, 48))), int(rng.integers(1, 4))
    ImageDraw.Draw(page).text((32, 32), str(digit), 255, font, anchor="mm", stroke_width=bold)
    page = page.rotate(rng.normal(0, 8), Image.Resampling.BILINEAR)
    width = int(rng.uniform(30, 56))
    cut = page.crop(page.getbbox()).resize((width, 64))
    page = Image.new("L", (64, 64))
    page.paste(cut, ((64 - width) // 2, 0))
    return page.resize((8, 8), Image.Resampling.BOX)


class Printed(leyden.DataModule):
    """Rendered digits (1, 8, 8) in 0 … 1, with their names."""

    def __init__(self, count: int) -> None:
        self.count = count

    def setup(self, stage: str) -> None:
        rng = np.random.default_rng(0)
        names = rng.integers(0, 10, self.count)
        pages = np.stack([np.asarray(print_digit(digit, rng)) for digit in names])
        self.pages = TensorDataset(torch.tensor(pages).unsqueeze(1) / 255, torch.tensor(names))

    def train_dataloader(self) -> Loader:
        return DataLoader(self.pages, 64, shuffle=True)


class Scans(leyden.DataModule):
    """Handwritten digits (1, 8, 8) in 0 … 1: so many `labels` of each to train on, the rest of 1,797 to test."""

    def __init__(self, labels: int, draw: int) -> None:
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        names = torch.tensor(digits.target)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(draw))
        seen_before = F.one_hot(names[order]).cumsum(0).gather(1, names[order, None])[:, 0]  # 1 for the first of a kind
        train, test = order[seen_before <= labels], order[seen_before > labels]
        self.train, self.test = (TensorDataset(images[part], names[part]) for part in (train, test))

    def train_dataloader(self) -> Loader:
        return DataLoader(self.train, 32, shuffle=True)

    def test_dataloader(self) -> Loader:
        return DataLoader(self.test, 600)


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution, normalized."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Reader(leyden.Module):
    """A backbone that sees and a head that names; `task` stands before its metrics."""

    def __init__(self, width: int, lr: float, task: str) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.task = lr, task
        self.backbone = nn.Sequential(
            block(1, width), block(width, 2 * width), nn.MaxPool2d(2), block(2 * width, 4 * width), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(4 * width * 4, 10)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, 8, 8) -> (n, 10) logits."""
        return self.head(self.backbone(images).flatten(1))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, names = batch
        loss = F.cross_entropy(self(images), names)
        self.log(f"{self.task}/loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        images, names = batch
        self.log(f"{self.task}/accuracy", (self(images).argmax(1) == names).float().mean())

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.AdamW((one for one in self.parameters() if one.requires_grad), lr=self.lr)


class Thaw(BaseFinetuning):
    """The head alone at first; then the last part of the backbone with it, then the one before, each more gently."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def freeze_before_training(self, pl_module: leyden.Module) -> None:
        self.freeze(_backbone(pl_module))

    def finetune_function(self, pl_module: leyden.Module, epoch: int, optimizer: Optimizer) -> None:
        blocks = [one for one in _backbone(pl_module) if isinstance(one, nn.Sequential)]
        turn = epoch // self.every
        if epoch % self.every == 0 and 1 <= turn <= len(blocks):
            rate = optimizer.param_groups[0]["lr"] / 2**turn
            self.unfreeze_and_add_param_group(blocks[-turn], optimizer, rate)


def _backbone(module: leyden.Module) -> nn.Sequential:
    assert isinstance(module, Reader)
    return module.backbone


def main() -> None:
    parser = argparse.ArgumentParser(description="Read handwriting after ten scans.")
    parser.add_argument("--labels", type=int, default=1, help="scans of each digit to learn from")
    parser.add_argument("--draws", type=int, default=10, help="how often these are drawn anew; the mean is reported")
    parser.add_argument("--width", type=int, default=16, help="channels of the first convolution")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--pretrain-epochs", type=int, default=8)
    parser.add_argument("--printed", type=int, default=3000, help="rendered digits")
    parser.add_argument("--max-epochs", type=int, default=60, help="on the scans")
    parser.add_argument("--pretrained", help="a checkpoint of a net that reads printed digits")
    parser.add_argument("--smoke", action="store_true", help="fewer draws and epochs, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.draws, args.printed, args.pretrain_epochs = 3, 2000, 4

    leyden.seed_everything(0)
    if args.pretrained is None:
        checkpoints = leyden.ModelCheckpoint()
        pretrainer = leyden.Trainer(max_epochs=args.pretrain_epochs, devices=1, callbacks=[checkpoints])
        pretrainer.fit(Reader(args.width, args.lr, "printed"), datamodule=Printed(args.printed))
        args.pretrained = checkpoints.last_model_path

    quiet = partial(leyden.Trainer, devices=1, enable_progress_bar=False, enable_checkpointing=False)
    trainers = {
        "scratch": quiet(max_epochs=args.max_epochs),
        "transfer": quiet(max_epochs=args.max_epochs, callbacks=[Thaw(every=args.max_epochs // 4)]),
    }
    right: dict[str, list[float]] = {"scratch": [], "transfer": []}
    for draw in range(args.draws):
        for task, trainer in trainers.items():
            if task == "scratch":
                net = Reader(args.width, args.lr, task)
            else:
                net = Reader.load_from_checkpoint(args.pretrained, task=task)
            scans = Scans(args.labels, draw)
            trainer.fit(net, datamodule=scans)
            [scores] = trainer.test(net, datamodule=scans)
            right[task].append(scores[f"{task}/accuracy"])
    for task, accuracies in right.items():
        mean, worst = sum(accuracies) / len(accuracies), min(accuracies)
        print(
            f"{task}: reads {mean:.1%} of handwriting after {10 * args.labels} labelled scans (worst draw {worst:.1%})"
        )


if __name__ == "__main__":
    main()
