"""Reads a source as the loader does: parent, tier and worker, one after the other in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from leyden.data.decode.picture import Picture
from leyden.data.sources.base import Source
from leyden.data.tiers.remote import open_root


def fetch(source: Source, name: str, start: int = 0, stop: int | None = None) -> bytes:
    """What the tiers give to `prepare`."""
    root = open_root(source.root)
    return root.get(name) if stop is None else root.get_range(name, start, stop)


def bring(source: Source, shard: int, folder: Path) -> Path:
    """The shard's file: where it lies, or a copy that passed `arrived`."""
    found = source.shard(shard)
    path = Path(source.root, found.name)
    assert path.stat().st_size == found.size_bytes
    if not found.packed:
        return path
    folder.mkdir(exist_ok=True)
    copy = folder / f"{shard}-{path.name}"
    shutil.copy(path, copy)
    source.arrived(shard, copy)
    return copy


def contents(source: Source, folder: Path) -> Iterator[Any]:
    """Every sample in order; readers are opened by a copy of the source, as a worker has it."""
    worker: Source = cloudpickle.loads(cloudpickle.dumps(source))
    for shard, count in enumerate(source.counts.tolist()):
        source.prepare(shard, lambda name, start=0, stop=None: fetch(source, name, start, stop))
        records = source.locate(shard, np.arange(count))
        reader = worker.open(shard, bring(source, shard, folder) if source.root else None)
        for number in np.random.default_rng(shard).permutation(count).tolist():  # opened in any order
            reader.read(number, None if records is None else records[number].tolist())
        for number in range(count):
            yield reader.read(number, None if records is None else records[number].tolist())
        reader.close()


def read(source: Source, shard: int, path: Path, number: int, record: Sequence[int] | None = None) -> Any:
    """One sample of the file at `path`."""
    reader = source.open(shard, path)
    try:
        return reader.read(number, record)
    finally:
        reader.close()


def same(one: Any, other: Any) -> bool:
    """Values of samples, pictures and arrays among them."""
    if isinstance(one, Picture):
        one = one.decode()
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other) and np.asarray(one).dtype == np.asarray(other).dtype
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)
