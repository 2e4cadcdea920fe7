"""MosaicML Streaming: MDS shards, its own shuffle, torch's DataLoader with persistent workers around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from benchmarks.loader_peers.common import SHARD_BYTES, Batches, Task, crop, files, label_of


def name_only(path: str, *names: str) -> None:
    """A stand-in for a module of which only these names are asked: for text and torchvision data sets, not used here.

    torchvision from the package index needs CUDA's torch, and transformers compiles Rust.
    """
    module = ModuleType(path)
    module.__path__ = []
    for name in names:
        setattr(module, name, type(name, (), {}))
    sys.modules[path] = module


for parts in (
    ("transformers",),
    ("transformers.feature_extraction_utils", "BatchFeature"),
    ("transformers.tokenization_utils_base", "BatchEncoding"),
    ("transformers.models",),
    ("transformers.models.auto",),
    ("transformers.models.auto.tokenization_auto", "AutoTokenizer"),
    ("torchvision",),
    ("torchvision.datasets", "VisionDataset"),
    ("torchvision.transforms",),
    ("torchvision.transforms.functional", "to_tensor"),
):
    name_only(*parts)

from streaming import MDSWriter, StreamingDataset  # noqa: E402  after the stand-ins
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


def make(data: Path, to: Path) -> None:
    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(to), columns=columns, size_limit=SHARD_BYTES) as shards:
        for path in files(data):
            shards.write({"image": path.read_bytes(), "label": label_of(path)})


class Crops(StreamingDataset):  # type: ignore[misc]
    fused = False

    def __getitem__(self, index: Any) -> Any:
        item = super().__getitem__(index)
        return torch.from_numpy(crop(item["image"], self.fused)), item["label"]


def epochs(task: Task) -> Iterator[Batches]:
    clean_stale_shared_memory()  # as its documentation asks for after a process that was killed
    where = {"local": str(task.data / "mosaic")}
    if task.endpoint:
        where = {"local": str(task.cache), "remote": "s3://mosaic"}
    data = Crops(**where, shuffle=True, batch_size=task.batch_size)
    data.fused = task.fused
    loader: Any = torch.utils.data.DataLoader(
        data,
        batch_size=task.batch_size,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=True,
        prefetch_factor=task.ahead,
    )
    while True:
        yield iter(loader)
