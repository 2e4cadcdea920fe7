"""What do all loaders of the benchmark share: the task, the crop, the files?"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE, CROP, CLASSES = 512, 224, 1000
SHARD_BYTES = 8_000_000  # of every format: small beside practice, so that an epoch of 84 MB has several
Batches = Iterator[tuple[Any, Any]]  # of one epoch: images uint8 [B, 224, 224, 3], labels int64 [B]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What a loader is asked for."""

    data: Path  # the folder with every format in a folder of its own
    fused: bool = False  # decode by leyden.data.Picture, not as the library's users do
    endpoint: str = ""  # of an S3 server whose buckets are the folders of `data`; empty: read local files
    cache: Path = Path()  # an empty folder of this run, for what comes from S3
    variant: str = ""
    batch_size: int = 16
    workers: int = 2
    ahead: int = 4  # batches each worker makes beforehand, where that can be said


@cache
def numbers() -> np.random.Generator:
    """One generator a process, seeded by the system: which crop is drawn does not matter here."""
    return np.random.default_rng()


def crop(raw: bytes, fused: bool) -> NDArray[np.uint8]:
    """A random part of 224×224 of a JPEG: by Pillow as most people write it, or by Leyden's fused decoder."""
    if fused:
        from leyden.data.decode import Picture

        return Picture(raw).random_crop(CROP, numbers())
    from PIL import Image

    image = Image.open(io.BytesIO(raw)).convert("RGB")
    top, left = int(numbers().integers(image.height - CROP + 1)), int(numbers().integers(image.width - CROP + 1))
    return np.array(image.crop((left, top, left + CROP, top + CROP)))


def files(data: Path) -> list[Path]:
    """The JPEGs, in order; the label is in the name's last part."""
    return sorted((data / "files").glob("*.jpg"))


def label_of(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
