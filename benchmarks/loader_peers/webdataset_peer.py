"""WebDataset: tars, samples shuffled in a buffer, batches made in workers that stay."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from benchmarks.loader_peers.common import SHARD_BYTES, Batches, Task, crop, files, label_of


def make(data: Path, to: Path) -> None:
    with wds.ShardWriter(str(to / "%06d.tar"), maxsize=SHARD_BYTES, verbose=0) as shards:
        for path in files(data):
            shards.write({"__key__": path.stem, "jpg": path.read_bytes(), "cls": label_of(path)})


def sample(item: Any, fused: bool) -> tuple[torch.Tensor, int]:
    return torch.from_numpy(crop(item["jpg"], fused)), int(item["cls"])


def epochs(task: Task) -> Iterator[Batches]:
    names = [path.name for path in sorted((task.data / "webdataset").glob("*.tar"))]
    root = f"{task.endpoint}/webdataset" if task.endpoint else str(task.data / "webdataset")
    data = (
        wds.WebDataset(
            [f"{root}/{name}" for name in names],
            shardshuffle=len(names),
            workersplitter=wds.split_by_worker,
            cache_dir=str(task.cache) if task.endpoint else None,
        )
        .shuffle(200, initial=50)  # samples; its examples take 1000, which at 1,024 images would be all of them
        .map(partial(sample, fused=task.fused))
        .batched(task.batch_size, partial=False)
    )
    loader = wds.WebLoader(
        data, batch_size=None, num_workers=task.workers, persistent_workers=True, prefetch_factor=task.ahead
    )
    while True:
        yield iter(loader)
