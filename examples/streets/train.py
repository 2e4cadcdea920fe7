"""A net names every pixel of a street and says how far away it is, fed from plain files or from shards.

Frames have 1920×1216 pixels, and each step sees crops of 1024×512. `--loader files` is what everybody writes first: a
data set that opens three files, decodes them whole and crops. `--loader shards` decodes what it crops, in workers that
never stop. The net, the crops and what is learned are the same; docs/explain/feeding.md tells what differs, in figures.

python make.py --to streets                     once: 4,000 scenes, 5 minutes on two cores
python train.py --data streets                  as fast as the net can
python train.py --data streets --loader files   as fast as files are decoded
python train.py --smoke                         seconds: a few scenes, rendered first
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from make import CLASSES, HEIGHT, WIDTH, make  # type: ignore[import-not-found]
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import leyden
from leyden.data import Loader, Sample
from leyden.data.decode import random_window

# picture (n, h, w, 3) uint8, mask (n, h, w) uint8, depth (n, h, w) uint16: centimetres; top (n,): the crop's first row
Batch = dict[str, Tensor]
CROP, WHOLE = (512, 1024), (HEIGHT, WIDTH)


class Frames(Dataset[dict[str, Any]]):
    """Before: every file is decoded whole, then cropped."""

    def __init__(self, folder: Path, crop: tuple[int, int]) -> None:
        self.stems, self.crop = [str(path.with_suffix("")) for path in sorted(folder.glob("*.jpg"))], crop

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: int) -> dict[str, Any]:
        top, left = (int(torch.randint(whole - part + 1, ())) for whole, part in zip(WHOLE, self.crop, strict=True))
        names = {"picture": "jpg", "mask": "mask.png", "depth": "depth.png"}
        layers = {name: np.asarray(Image.open(f"{self.stems[index]}.{ending}")) for name, ending in names.items()}
        height, width = self.crop
        return {"top": top, **{name: a[top : top + height, left : left + width].copy() for name, a in layers.items()}}


def cut(sample: Sample, rng: np.random.Generator, *, crop: tuple[int, int]) -> dict[str, Any]:
    """After: only the crop is decoded, of the picture, the classes and the depth."""
    picture = sample.picture("image")
    window = random_window(picture.size, crop, rng)
    labels = {name: sample.rows(name).crop(*window) for name in ("mask", "depth")}
    return {"top": window.top, "picture": picture.crop(*window), **labels}


def feed(kind: str, data: Path, part: str, batch_size: int, workers: int) -> Iterable[Batch]:
    """Crops in a new order every epoch to train on, or whole frames, one by one, to validate."""
    training = part == "train"
    crop, size = (CROP, batch_size) if training else (WHOLE, 1)
    if kind == "files":
        frames = Frames(data / "files" / part, crop)
        return DataLoader(frames, size, shuffle=training, drop_last=training, num_workers=workers)
    return Loader(
        data / "shards" / part,
        batch_size=size,
        transform=partial(cut, crop=crop),
        shuffle=training,
        drop_last=training,
        workers=workers or "auto",
    )


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Net(nn.Module):
    """Down to a 32nd and up to an 8th again, levels added (Lin et al. 2017, "Feature pyramid networks"); two answers.

    Of every `shrink` pixels, and of every `shrink` rows, the net looks at one.
    """

    def __init__(self, width: int, shrink: int) -> None:
        super().__init__()
        self.shrink, patch = shrink, 8 // shrink
        self.stem = nn.Sequential(nn.Conv2d(3, width, patch, patch), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        sizes = ((width + 1, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2))  # one more channel is the row
        self.down = nn.ModuleList(nn.Sequential(block(i, o, stride), block(o, o)) for i, o, stride in sizes)
        self.level = nn.ModuleList(nn.Conv2d(o, width, 1) for _, o, _ in sizes)
        self.leave = nn.Sequential(block(width, width), nn.Conv2d(width, len(CLASSES) + 1, 1))

    def forward(self, picture: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
        """(n, h, w, 3) in 0 … 255 -> logits (n, classes, h / 8, w / 8) and log metres (n, h / 8, w / 8)."""
        x = self.stem(picture[:, :: self.shrink, :: self.shrink].permute(0, 3, 1, 2).float())
        rows = (top.view(-1, 1) + 8 * torch.arange(x.shape[2], device=x.device)) / HEIGHT * 2 - 1
        x = torch.cat([x, rows[:, None, :, None].expand(-1, 1, -1, x.shape[3]).to(x.dtype)], dim=1)
        levels = []
        for down, level in zip(self.down, self.level, strict=True):
            levels.append(level(x := down(x)))
        x = levels.pop()
        while levels:
            x = levels.pop() + F.interpolate(x, scale_factor=2)
        answer = self.leave(x)
        return answer[:, :-1], answer[:, -1]


class Seer(leyden.Module):
    """The net, its loss on every 8th pixel of every 8th row, and its score on all pixels of whole frames."""

    def __init__(self, width: int, shrink: int, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.net = lr, Net(width, shrink)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, metres = self.net(batch["picture"], batch["top"])
        mask, depth = (batch[name][:, 4::8, 4::8] for name in ("mask", "depth"))
        classes = F.cross_entropy(logits, mask.long())
        depth = depth.float() / 100
        off = (metres - depth.clamp(min=0.01).log()).abs()[depth > 0].mean()  # the sky has no depth
        loss: Tensor = classes + off
        self.log_dict({"train_loss": loss, "off_by": off.detach().exp() - 1}, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros(len(CLASSES) ** 2, dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits, metres = self.net(batch["picture"], batch["top"])
        seen, metres = (a.repeat_interleave(8, 1).repeat_interleave(8, 2) for a in (logits.argmax(1), metres))
        self.counts += torch.bincount(
            (batch["mask"].long() * len(CLASSES) + seen).flatten(), minlength=len(self.counts)
        )
        depth = batch["depth"].float() / 100
        self.log("depth_error", ((metres.exp() - depth).abs() / depth)[depth > 0].mean())

    def on_validation_epoch_end(self) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.counts)
        confusion = self.counts.view(len(CLASSES), len(CLASSES))  # [truth, prediction]
        both = confusion.diagonal().float()
        self.log("miou", (both / (confusion.sum(0) + confusion.sum(1) - both)).nanmean(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps, pct_start=0.2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Stopwatch(leyden.Callback):
    """Prints how long each epoch took, how much of it the net was at work, and the gap between two epochs.

    Validation is left out. On a GPU the host runs ahead: what is counted as work then is what was not waiting for data.
    """

    began = ended = total = work = 0.0  # when training began and a step ended; seconds of training, of work in an epoch

    def on_train_start(self, trainer: leyden.Trainer, pl_module: leyden.Module) -> None:
        self.ended = self.began = perf_counter()

    def on_train_batch_start(
        self, trainer: leyden.Trainer, pl_module: leyden.Module, batch: Any, batch_idx: int
    ) -> None:
        self.started = perf_counter()
        if batch_idx == 0:
            self.gap, self.work = self.started - self.ended, 0.0

    def on_train_batch_end(
        self, trainer: leyden.Trainer, pl_module: leyden.Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.ended = perf_counter()
        self.work += self.ended - self.started

    def on_validation_start(self, trainer: leyden.Trainer, pl_module: leyden.Module) -> None:
        self.paused = perf_counter()

    def on_validation_end(self, trainer: leyden.Trainer, pl_module: leyden.Module) -> None:
        self.began += (now := perf_counter()) - self.paused
        self.ended += now - self.paused

    def on_train_epoch_end(self, trainer: leyden.Trainer, pl_module: leyden.Module) -> None:
        lasted, self.total = self.ended - self.began - self.total, self.ended - self.began
        pl_module.print(
            f"epoch {trainer.current_epoch}: {lasted:.2f} s, net at work {self.work / lasted:.1%}, began after a gap of"
            f" {1000 * self.gap:.0f} ms; after {self.total:.1f} s of training mIoU {trainer.metrics['miou']:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Name every pixel of a street and say how far away it is.")
    parser.add_argument("--data", type=Path, default=Path("streets"), help="what make.py wrote")
    parser.add_argument("--loader", choices=("files", "shards"), default="shards")
    parser.add_argument("--workers", type=int, default=0, help="that decode; 0: as many as it takes, or none for files")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="channels of the first level")
    parser.add_argument("--shrink", type=int, default=2, choices=(1, 2, 4), help="look at one pixel of so many")
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--max-epochs", type=int, default=4)
    parser.add_argument("--devices", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--ckpt-path", help='a checkpoint to go on from; "last" finds the newest')
    parser.add_argument("--smoke", action="store_true", help="a few scenes, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        make(args.data, 16, 2)
        args.batch_size, args.max_epochs, args.width = 2, 6, 8

    leyden.seed_everything(0)
    model = Seer(args.width, args.shrink, args.lr)
    trainer = leyden.Trainer(
        max_epochs=args.max_epochs, devices=args.devices, precision=args.precision, callbacks=[Stopwatch()]
    )
    train, val = (feed(args.loader, args.data, part, args.batch_size, args.workers) for part in ("train", "val"))
    trainer.fit(model, train, val, ckpt_path=args.ckpt_path)
    miou, off = trainer.metrics["miou"], trainer.metrics["depth_error"]
    model.print(f"on whole frames: mean intersection over union {miou:.1%}, depth off by {off:.0%}")


if __name__ == "__main__":
    main()
