"""SPDL: a pipeline of threads that never ends, decoding by FFmpeg into one buffer a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import spdl.io
import torch
from benchmarks.loader_peers.common import CROP, Batches, Task, crop, files, label_of, numbers
from spdl.pipeline import PipelineBuilder


class Shuffled:
    """Every iteration is an epoch, in another order."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Path]:
        for index in np.random.default_rng().permutation(len(self.paths)):
            yield self.paths[index]


def frames(path: Path) -> tuple[Any, int]:
    packets = spdl.io.demux_image(str(path))
    top, left = numbers().integers(packets.height - CROP + 1), numbers().integers(packets.width - CROP + 1)
    cut = f"crop={CROP}:{CROP}:{left}:{top}:exact=1,format=rgb24"
    return spdl.io.decode_packets(packets, filter_desc=cut), label_of(path)


def gather(items: list[tuple[Any, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, labels = zip(*items, strict=True)
    return spdl.io.to_torch(spdl.io.convert_frames(list(pictures))), torch.tensor(labels)


def fused(path: Path) -> tuple[Any, int]:
    return crop(path.read_bytes(), True), label_of(path)


def stack(items: list[tuple[Any, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, labels = zip(*items, strict=True)
    return torch.from_numpy(np.stack(pictures)), torch.tensor(labels)


def epochs(task: Task) -> Iterator[Batches]:
    pipeline: Any = (
        PipelineBuilder()
        .add_source(Shuffled(files(task.data)), continuous=True)
        .pipe(fused if task.fused else frames, concurrency=task.workers)
        .aggregate(task.batch_size, drop_last=True)
        .pipe(stack if task.fused else gather)
        .add_sink(task.ahead * task.workers)
        .build(num_threads=task.workers)
    )
    with pipeline.auto_stop():
        while True:
            yield pipeline.get_iterator(timeout=30)
