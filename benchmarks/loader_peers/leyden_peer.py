"""Leyden's Loader over its own shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.loader_peers.common import CROP, SHARD_BYTES, Batches, Task, files, label_of

from leyden.data import Loader, Sample


def make(data: Path, to: Path) -> None:
    from leyden.data import write_shards
    from leyden.data.decode import tiled

    kept = tiled if to.name.startswith("leyden-tiled") else bytes
    samples = ({"image": kept(path.read_bytes()), "label": label_of(path)} for path in files(data))
    write_shards(samples, str(to), shard_size=SHARD_BYTES, progress=False)


def cropped(sample: Sample, rng: np.random.Generator) -> tuple[Any, int]:
    return sample.picture("image").random_crop(CROP, rng), sample["label"]


def epochs(task: Task) -> Iterator[Batches]:
    folder = "leyden-tiled" if "tiled" in task.variant else "leyden"
    loader = Loader(
        f"s3://{folder}" if task.endpoint else str(task.data / folder),
        batch_size=task.batch_size,
        transform=cropped,
        shuffle=True,
        drop_last=True,
        workers=task.workers,
        kind="thread" if "thread" in task.variant else "process" if "process" in task.variant else "auto",
        cache=[str(task.cache)] if task.endpoint else None,
    )
    while True:
        yield iter(loader)
