"""torchdata.nodes, put together as its migration guide does: batches of indices, mapped in parallel, prefetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torchdata.nodes as tn
from benchmarks.loader_peers.common import Batches, Task
from benchmarks.loader_peers.torch_peer import Folder
from torch.utils.data import RandomSampler, default_collate


class Fetch:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def __call__(self, indices: Sequence[int]) -> Any:
        return default_collate([self.folder[index] for index in indices])


def epochs(task: Task) -> Iterator[Batches]:
    folder = Folder(task)
    node: Any = tn.SamplerWrapper(RandomSampler(folder))
    node = tn.Batcher(node, task.batch_size, drop_last=True)
    node = tn.ParallelMapper(node, Fetch(folder), num_workers=task.workers, method=task.variant)
    loader = tn.Loader(tn.Prefetcher(node, task.ahead * task.workers))
    while True:
        yield iter(loader)
