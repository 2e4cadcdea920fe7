"""torch's DataLoader (plain, with persistent workers) and torchdata's StatefulDataLoader over a folder of files."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from benchmarks.loader_peers.common import Batches, Task, crop, files, label_of
from torch.utils.data import DataLoader, Dataset


class Folder(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, task: Task) -> None:
        self.fused, self.paths = task.fused, files(task.data)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path = self.paths[index]
        return torch.from_numpy(crop(path.read_bytes(), self.fused)), label_of(path)


def epochs(task: Task) -> Iterator[Batches]:
    kind: Any = DataLoader
    if task.variant == "stateful":
        kind = importlib.import_module("torchdata.stateful_dataloader").StatefulDataLoader
    loader = kind(
        Folder(task),
        batch_size=task.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=task.variant != "plain",
        prefetch_factor=None if task.variant == "plain" else task.ahead,
    )
    while True:
        yield iter(loader)
