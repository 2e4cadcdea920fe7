"""DALI on the CPU: its file reader, its decoder of the cropped part alone, its PyTorch iterator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.loader_peers.common import CROP, Batches, Task, files, label_of
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator


@pipeline_def  # type: ignore[untyped-decorator]
def crops(paths: list[Path]) -> Any:
    labels = [label_of(path) for path in paths]
    jpegs, label = fn.readers.file(
        files=[str(path) for path in paths], labels=labels, random_shuffle=True, read_ahead=True, name="reader"
    )
    place = {"crop_pos_x": fn.random.uniform(range=[0, 1]), "crop_pos_y": fn.random.uniform(range=[0, 1])}
    images = fn.decoders.image_crop(jpegs, device="cpu", crop=(CROP, CROP), output_type=types.RGB, **place)
    return images, label


def epochs(task: Task) -> Iterator[Batches]:
    options = {"batch_size": task.batch_size, "num_threads": task.workers, "device_id": None}
    pipe = crops(files(task.data), prefetch_queue_depth=task.ahead, **options)
    loader = DALIGenericIterator(
        [pipe], ["image", "label"], reader_name="reader", auto_reset=True, last_batch_policy=LastBatchPolicy.DROP
    )
    while True:
        yield ((found[0]["image"], found[0]["label"]) for found in loader)
