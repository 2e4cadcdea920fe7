"""What is searched? Two small trainings in plain PyTorch, the same for every library.

digits   the convolutional net of examples/digits on its 1,257 scans, shifted a little, by SGD; cross-entropy on the
         other 540
scenes   a U-Net names the pixels of rendered streets (examples/segmentation) of 80×48, by AdamW; mean intersection
         over union of nine classes on 16 scenes

A training is fixed by its parameters and a seed, to the bit, wherever it was interrupted: each epoch seeds its own
random numbers, and the rate falls with a cosine over all epochs, so how far a trial will train is known from the start.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Params = Mapping[str, Any]
WORST = 10.0  # stands for every loss beyond it, NaN too: some of the libraries cannot compare NaN
EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
FIRST_VALIDATION_SCENE = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is trained, in which space, and how good is good enough."""

    name: str
    metric: str
    goal: str  # min | max
    target: float
    found: str  # how the target was
    easy: float  # a target for whoever has seconds
    epochs: int  # a trial at full length; rungs are at epochs/9, epochs/3 and epochs
    space: Mapping[str, str]  # as `leyden sweep` takes it
    batch: int
    net: Callable[[Params], nn.Module]
    optimizer: Callable[[nn.Module, Params], torch.optim.Optimizer]
    vary: Callable[[Tensor], Tensor]  # the images of a batch
    score: Callable[[Tensor, Tensor], float]  # of the logits of all validation samples and what is true of them
    make: Callable[[], Mapping[str, np.ndarray[Any, Any]]]  # train_x, train_y, val_x, val_y

    def data(self, folder: Path) -> Path:
        """The file of its data, made where it is missing."""
        file = folder / f"{self.name}.npz"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{self.name}.part.npz")
            np.savez(part, **dict(self.make()))  # type: ignore[arg-type]  # its flags
            part.rename(file)
        return file

    def reached(self, score: float) -> bool:
        """Whether that is good enough."""
        return score <= self.target if self.goal == "min" else score >= self.target


class Training:
    """One trial, an epoch at a time."""

    def __init__(self, problem: Problem, params: Params, *, seed: int, data: Path) -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # or a trial that dies out would take four times as long
        torch.manual_seed(seed)
        self.problem, self.seed, self.epoch, self.lr = problem, seed, 0, float(params["lr"])
        with np.load(data) as found:
            arrays = {name: torch.from_numpy(found[name]) for name in found.files}
        self.train, self.val = (arrays["train_x"], arrays["train_y"]), (arrays["val_x"], arrays["val_y"])
        self.net = problem.net(params)
        self.optimizer = problem.optimizer(self.net, params)

    def one_epoch(self) -> float:
        """Train one more epoch, and measure."""
        torch.manual_seed(1000 * self.seed + self.epoch)
        images, truth = self.train
        batches = torch.split(torch.randperm(len(images)), self.problem.batch)
        self.net.train()
        for number, batch in enumerate(batches):
            done = (self.epoch + number / len(batches)) / self.problem.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * 0.5 * (1 + math.cos(math.pi * done))
            loss = F.cross_entropy(self.net(self.problem.vary(images[batch])), truth[batch])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.epoch += 1
        self.net.eval()
        with torch.no_grad():
            logits = torch.cat([self.net(part) for part in torch.split(self.val[0], self.problem.batch)])
        return self.problem.score(logits, self.val[1])

    def save(self, file: Path) -> None:
        """All that a later process needs to go on."""
        torch.save({"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}, file)

    def load(self, file: Path) -> None:
        """Go on from there."""
        state = torch.load(file, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]


class Journal:
    """What every trial of every library has measured, and when: a line of JSON each, in one file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def note(self, trial: str, epoch: int, score: float) -> None:
        """One line, in one write, so that processes do not mix theirs."""
        line = json.dumps({"at": time.time(), "trial": trial, "epoch": epoch, "score": score}) + "\n"
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def rows(self) -> list[dict[str, Any]]:
        """All of it, in order of time; a line that is being written is left out."""
        try:
            text = self.file.read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


# -- digits


def digits_data() -> dict[str, np.ndarray[Any, Any]]:
    """As in examples/digits, 1,257 to train; all others to validate, as 180 would be noise. (n, 1, 8, 8) in 0 … 1."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()
    train, val = order[:1257], order[1257:]
    labels = digits.target.astype(np.int64)
    return {"train_x": images[train], "train_y": labels[train], "val_x": images[val], "val_y": labels[val]}


def classifier(params: Params) -> nn.Module:
    """(n, 1, 8, 8) -> (n, 10): that of examples/digits with its widths free."""
    width, hidden = int(params["width"]), int(params["hidden"])
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(float(params["dropout"])),
        nn.Linear(2 * width * 16, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def shifted(images: Tensor) -> Tensor:
    """By up to a pixel in each direction, over the edge to the other side, which is empty."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return images.roll((down, right), (2, 3))


def by_sgd(net: nn.Module, params: Params) -> torch.optim.Optimizer:
    decay, momentum = float(params["weight_decay"]), float(params["momentum"])
    return torch.optim.SGD(net.parameters(), lr=1.0, momentum=momentum, weight_decay=decay)


def cross_entropy(logits: Tensor, truth: Tensor) -> float:
    loss = F.cross_entropy(logits, truth).item()
    return min(loss, WORST) if math.isfinite(loss) else WORST


DIGITS = Problem(
    name="digits",
    metric="val_loss",
    goal="min",
    target=0.05,
    found="Found on 2026-11-22 by a pilot (pilot.py): of 120 random trials 6 reach it, at epochs 18 to 24.",
    easy=0.2,
    epochs=27,
    space={
        "lr": "loguniform(1e-4,1)",
        "width": "[4,8,16]",
        "hidden": "[16,32,64]",
        "dropout": "uniform(0,0.6)",
        "weight_decay": "loguniform(1e-6,1e-1)",
        "momentum": "uniform(0,0.98)",
    },
    batch=48,
    net=classifier,
    optimizer=by_sgd,
    vary=shifted,
    score=cross_entropy,
    make=digits_data,
)


# -- scenes


def scenes_data() -> dict[str, np.ndarray[Any, Any]]:
    """Scenes 0 … 39 to train, 16 others to validate: every 24th pixel, of the picture the mean around it."""
    sys.path.append(str(EXAMPLES / "segmentation"))
    from scenes import render  # type: ignore[import-not-found]

    def small(index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        picture, mask = render(index)
        means = picture[:1152].reshape(48, 24, 80, 24, 3).mean((1, 3), dtype=np.float32).transpose(2, 0, 1)
        return means / 128 - 1, mask[12:1152:24, 12::24].astype(np.int64)

    parts = {"train": range(40), "val": range(FIRST_VALIDATION_SCENE, FIRST_VALIDATION_SCENE + 16)}
    found: dict[str, np.ndarray[Any, Any]] = {}
    for part, indices in parts.items():
        images, masks = zip(*(small(index) for index in indices), strict=True)
        found |= {f"{part}_x": np.stack(images), f"{part}_y": np.stack(masks)}
    return found


class UNet(nn.Module):
    """(n, 3, h, w) -> (n, 9, h, w): down `depth` times and up again (Ronneberger et al. 2015), one convolution each."""

    def __init__(self, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        levels = list(pairwise(width * 2**level for level in range(depth + 1)))
        self.enter = block(3 + 1, width)
        self.down = nn.ModuleList(block(upper, lower) for upper, lower in levels)
        self.up = nn.ModuleList(block(lower + upper, upper) for upper, lower in reversed(levels))
        self.drop = nn.Dropout2d(dropout)
        self.leave = nn.Conv2d(width, 9, 1)

    def forward(self, images: Tensor) -> Tensor:
        n, _, h, w = images.shape
        rows = torch.linspace(-1, 1, h).view(h, 1).expand(n, 1, h, w)  # how high in the picture
        x = self.enter(torch.cat([images, rows], 1))
        beside = []
        for down in self.down:
            beside.append(x)
            x = down(F.max_pool2d(x, 2))
        x = self.drop(x)
        for up in self.up:
            x = up(torch.cat([beside.pop(), F.interpolate(x, scale_factor=2.0)], 1))
        return self.leave(x)  # type: ignore[no-any-return]


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def unet(params: Params) -> nn.Module:
    return UNet(int(params["width"]), int(params["depth"]), float(params["dropout"]))


def by_adamw(net: nn.Module, params: Params) -> torch.optim.Optimizer:
    decay, momentum = float(params["weight_decay"]), float(params["momentum"])
    return torch.optim.AdamW(net.parameters(), lr=1.0, betas=(momentum, 0.99), weight_decay=decay)


def mean_iou(logits: Tensor, truth: Tensor) -> float:
    """0 … 1; a class that neither stands in a scene nor is claimed to does not count."""
    confusion = torch.bincount((truth * 9 + logits.argmax(1)).flatten(), minlength=81).view(9, 9)
    both = confusion.diagonal().float()
    return float((both / (confusion.sum(0) + confusion.sum(1) - both)).nanmean())


SCENES = Problem(
    name="scenes",
    metric="val_miou",
    goal="max",
    target=0.55,
    found="Found on 2026-11-22 by a pilot (pilot.py): of 60 random trials 4 reach it, at epochs 18 to 24.",
    easy=0.25,
    epochs=27,
    space={
        "lr": "loguniform(1e-4,1)",
        "width": "[4,8,12]",
        "depth": "[1,2,3]",
        "dropout": "uniform(0,0.6)",
        "weight_decay": "loguniform(1e-4,1)",
        "momentum": "uniform(0,0.98)",
    },
    batch=4,
    net=unet,
    optimizer=by_adamw,
    vary=torch.clone,
    score=mean_iou,
    make=scenes_data,
)

PROBLEMS = {one.name: one for one in (DIGITS, SCENES)}
