"""A U-Net names every pixel of street scenes of 1920×1216: road, car, pedestrian … nine classes.

The scenes are rendered as they are needed (scenes.py), so there is nothing to download and no end of them. On a CPU the
net looks at frames shrunk by four and is asked about every pixel all the same; --shrink 1 shows them as they are.

python train.py                                 a few minutes on one core
python train.py --shrink 1 --width 32 --depth 5 --batch-size 8 --frames 20000 --workers 14 --precision bf16-mixed
leyden run --gpus 1 examples/segmentation/train.py --shrink 2            as a job
python train.py --smoke                         seconds: a small net, few frames
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scenes import CLASSES, HEIGHT, WIDTH, colour, render  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import leyden

Batch = list[Tensor]  # pictures (n, 3, 1216, 1920) and masks (n, 1216, 1920), both uint8
SHARES = (0.07, 0.32, 0.38, 0.016, 0.09, 0.08, 0.009, 0.026, 0.01)  # of all pixels, class by class
FIRST_VALIDATION_SCENE = 10_000_000


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Scenes `first` … `first + count - 1`, whole, with their masks."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture, mask = render(self.first + index)
        return torch.tensor(picture).permute(2, 0, 1), torch.tensor(mask)


class Streets(leyden.DataModule):
    """Training scenes count from 0, validation scenes from ten million."""

    def __init__(self, frames: int, val_frames: int, batch_size: int, workers: int) -> None:
        self.train, self.val = Scenes(0, frames), Scenes(FIRST_VALIDATION_SCENE, val_frames)
        self.batch_size, self.workers = batch_size, workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(self.val, 1, num_workers=self.workers)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions, each normalized over the picture, for a batch may hold only one."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(8, outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Down `depth` times and up again, each level beside its equal (Ronneberger et al. 2015).

    Height and width must be multiples of 2**depth. A fourth channel says how high in the picture a pixel is.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        levels = list(pairwise(width * 2**level for level in range(depth + 1)))
        self.enter = double(3 + 1, width)
        self.down = nn.ModuleList(double(upper, lower) for upper, lower in levels)
        self.lift = nn.ModuleList(nn.ConvTranspose2d(lower, upper, 2, stride=2) for upper, lower in reversed(levels))
        self.up = nn.ModuleList(double(2 * upper, upper) for upper, _ in reversed(levels))
        self.leave = nn.Conv2d(width, len(CLASSES), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) in -1 … 1 -> (n, classes, h, w) logits."""
        n, _, h, w = pictures.shape
        rows = torch.linspace(-1, 1, h, device=pictures.device, dtype=pictures.dtype).view(h, 1).expand(n, 1, h, w)
        x = self.enter(torch.cat([pictures, rows], dim=1))
        beside = []
        for down in self.down:
            beside.append(x)
            x = down(F.max_pool2d(x, 2))
        for lift, up in zip(self.lift, self.up, strict=True):
            x = up(torch.cat([beside.pop(), lift(x)], dim=1))
        return self.leave(x)  # type: ignore[no-any-return]


class Segmenter(leyden.Module):
    """The net, its loss, and its score: intersection over union, class by class, over all validation pixels.

    In the loss a pixel weighs one over the root of its class's share of all pixels: what is rare counts for more.
    """

    def __init__(self, width: int, depth: int, shrink: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.shrink, self.net = lr, shrink, UNet(width, depth)
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(SHARES) ** -0.5)

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) in 0 … 255 -> (n, classes, h, w) logits."""
        return F.interpolate(self._look(pictures), scale_factor=self.shrink, mode="bilinear")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        pictures, masks = batch
        middle = slice(self.shrink // 2, None, self.shrink)
        loss = F.cross_entropy(self._look(pictures), masks[:, middle, middle].long(), self.weights)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def _look(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) in 0 … 255 -> (n, classes, h / shrink, w / shrink) logits."""
        return self.net(F.avg_pool2d(pictures.float(), self.shrink) / 128 - 1)  # type: ignore[no-any-return]

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros(len(CLASSES) ** 2, dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pictures, masks = batch
        pairs = masks.long() * len(CLASSES) + self(pictures).argmax(1)
        self.counts += torch.bincount(pairs.flatten(), minlength=len(self.counts))

    def on_validation_epoch_end(self) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)
        confusion = self.counts.view(len(CLASSES), len(CLASSES))  # [truth, prediction]
        both = confusion.diagonal().float()
        iou = both / (confusion.sum(0) + confusion.sum(1) - both)  # NaN for a class that no scene has
        self.log("miou", iou.nanmean(), prog_bar=True)
        self.log_dict({f"iou/{name}": value for name, value in zip(CLASSES, iou, strict=True)})

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The class of each pixel, (n, h, w) uint8."""
        return self(batch[0]).argmax(1).byte()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps, pct_start=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def write_picture(picture: Tensor, truth: Tensor, predicted: Tensor, path: Path) -> None:
    """Scene, truth and prediction beside each other, half as large."""
    layers = [picture.permute(1, 2, 0).numpy(), colour(truth.numpy()), colour(predicted.cpu().numpy())]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate([layer[::2, ::2] for layer in layers], axis=1)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Name every pixel of a street.")
    parser.add_argument("--frames", type=int, default=250, help="scenes to train on")
    parser.add_argument("--val-frames", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that render; 0 renders between steps")
    parser.add_argument("--width", type=int, default=16, help="channels of the first level")
    parser.add_argument("--depth", type=int, default=4, help="how often the net halves height and width")
    parser.add_argument("--shrink", type=int, default=4, help="side of the squares of pixels the net sees as one")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--max-epochs", type=int, default=1)
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--smoke", action="store_true", help="a small net and few scenes, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.frames, args.val_frames, args.shrink, args.depth = 30, 1, 8, 3
    if HEIGHT % (args.shrink * 2**args.depth) or WIDTH % (args.shrink * 2**args.depth):
        parser.error(f"--shrink · 2**depth must divide {WIDTH} and {HEIGHT}")

    leyden.seed_everything(0)
    data = Streets(args.frames, args.val_frames, args.batch_size, args.workers)
    model = Segmenter(args.width, args.depth, args.shrink, args.lr)
    trainer = leyden.Trainer(
        max_epochs=args.max_epochs,
        devices=args.devices,
        precision=args.precision,
        callbacks=[leyden.ModelCheckpoint(monitor="miou", mode="max")],
    )
    trainer.fit(model, datamodule=data, ckpt_path=args.ckpt_path)

    for name in CLASSES:
        model.print(f"{name:>12}  {trainer.metrics[f'iou/{name}']:6.1%}")
    model.print(f"mean intersection over union {trainer.metrics['miou']:.1%} on {args.val_frames} whole frames")
    seen = trainer.predict(model, DataLoader(Scenes(FIRST_VALIDATION_SCENE, 1)))
    if trainer.is_global_zero:
        path = leyden.run_dir() / "artifacts" / "scene.png"
        write_picture(*data.val[0], seen[0][0], path)
        print(f"a scene, its mask and what the net sees: {path}")


if __name__ == "__main__":
    main()
