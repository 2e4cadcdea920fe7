"""LitData: its chunks, its streaming data set and loader with workers that stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata as ld
import torch
from benchmarks.loader_peers.common import SHARD_BYTES, Batches, Task, crop, files, label_of
from litdata.streaming import downloader


def item(path: str) -> dict[str, Any]:
    return {"image": Path(path).read_bytes(), "label": label_of(Path(path))}


def make(data: Path, to: Path) -> None:
    inputs = [str(path) for path in files(data)]
    ld.optimize(item, inputs, str(to), chunk_bytes=SHARD_BYTES, num_workers=1, verbose=False)


class Crops(ld.StreamingDataset):  # type: ignore[misc]
    fused = False

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return torch.from_numpy(crop(found["image"], self.fused)), found["label"]


def epochs(task: Task) -> Iterator[Batches]:
    options: dict[str, Any] = {"input_dir": str(task.data / "litdata")}
    if task.endpoint:
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it has no option for a server without TLS
        storage = {"endpoint_url": task.endpoint, "aws_access_key_id": "any", "aws_secret_access_key": "any"}
        options = {"input_dir": "s3://litdata/", "cache_dir": str(task.cache), "storage_options": storage}
    data = Crops(**options, shuffle=True, drop_last=True)
    data.fused = task.fused
    loader = ld.StreamingDataLoader(
        data,
        batch_size=task.batch_size,
        num_workers=task.workers,
        persistent_workers=True,
        prefetch_factor=task.ahead,
    )
    while True:
        yield iter(loader)
