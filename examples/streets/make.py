"""Renders street scenes to train on, as plain files and as shards; goes on where it was stopped.

python make.py --scenes 4000 --to streets       6 GB, 10 minutes on two cores: 4,000 to train on, 40 to validate

streets/files/train/000123.jpg, .mask.png (classes), .depth.png (16 bits: centimetres ahead, 0 for the sky)
streets/shards/train/                           the same pixels, stored so that a crop can be cut out
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from leyden.data import write_shards

sys.path.append(str(Path(__file__).parents[1] / "segmentation"))
from scenes import CLASSES, HEIGHT, WIDTH, survey  # type: ignore[import-not-found]

__all__ = ["CLASSES", "HEIGHT", "WIDTH", "make"]
FIRST_VALIDATION_SCENE = 10_000_000
SCHEMA = {"image": "jpeg", "mask": "rows", "depth": "rows"}  # rows: compressed in bands, read by bands


def make(folder: Path, scenes: int, val_scenes: int) -> None:
    """Scenes to train on count from 0, those to validate from ten million."""
    for part, first, count in (("train", 0, scenes), ("val", FIRST_VALIDATION_SCENE, val_scenes)):
        files = folder / "files" / part
        files.mkdir(parents=True, exist_ok=True)
        with Pool(os.cpu_count()) as pool:
            done = pool.imap_unordered(partial(store, files), range(first, first + count), chunksize=4)
            for _ in track(done, f"{part}: scenes", total=count):
                pass
        shards = folder / "shards" / part
        if not (shards / "dataset.json").exists():
            write_shards(Scenes(files, range(first, first + count)), shards, schema=SCHEMA, tile=True)


def store(folder: Path, number: int) -> None:
    """Render a scene into three files; the last to appear says that all are there."""
    stem = f"{folder}/{number:06d}"
    if Path(f"{stem}.depth.png").exists():
        return
    for name, pixels in zip(("jpg", "mask.png", "depth.png"), survey(number), strict=True):
        unfinished = Path(f"{stem}.part.{name}")
        Image.fromarray(pixels).save(unfinished, quality=90)
        unfinished.rename(f"{stem}.{name}")


class Scenes:
    """What the shards keep of those files, scene by scene."""

    def __init__(self, folder: Path, numbers: range) -> None:
        self.folder, self.numbers = folder, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        stem = f"{self.folder}/{self.numbers[index]:06d}"
        return {"image": Path(f"{stem}.jpg"), "mask": pixels(f"{stem}.mask.png"), "depth": pixels(f"{stem}.depth.png")}


def pixels(path: str) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--val-scenes", type=int, default=40)
    parser.add_argument("--to", type=Path, default=Path("streets"))
    args = parser.parse_args()
    make(args.to, args.scenes, args.val_scenes)
