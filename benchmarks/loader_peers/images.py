"""What is loaded? Parts of scikit-learn's two photos, turned, scaled, with noise, as JPEGs of about 82 kB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.loader_peers.common import CLASSES, SIDE
from PIL import Image
from sklearn.datasets import load_sample_image

QUALITY, NOISE = 85, 7.5  # 82 kB on the average


def write(folder: Path, count: int, seed: int = 0) -> None:
    """`count` files of 512×512, the same for the same seed; those that are there already are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        path = folder / f"{number:06d}-{rng.integers(CLASSES)}.jpg"
        if not path.exists():
            partial = path.with_suffix(".partial")
            picture(photos, rng).save(partial, "JPEG", quality=QUALITY)
            partial.replace(path)


def picture(photos: Sequence[np.ndarray], rng: np.random.Generator) -> Image.Image:
    photo = Image.fromarray(photos[int(rng.integers(len(photos)))])
    side = int(rng.integers(250, photo.height))
    left, top = int(rng.integers(photo.width - side)), int(rng.integers(photo.height - side))
    part = photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    values = np.asarray(part.rotate(90 * int(rng.integers(4))), np.float32)
    noise = rng.standard_normal((SIDE, SIDE, 1), np.float32) * NOISE
    return Image.fromarray(np.clip(values + noise, 0, 255).astype(np.uint8))
