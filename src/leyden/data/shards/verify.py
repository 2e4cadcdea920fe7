"""Is every sample as it was written? Reads all of it: checksums of shards and of samples, pictures if asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from leyden.core.errors import LeydenError
from leyden.data.errors import DataError
from leyden.data.shards.finished import sha256_of
from leyden.data.shards.progress import Bar
from leyden.data.shards.walk import Walk
from leyden.data.sources.base import Source
from leyden.data.sources.sample import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong, and where."""

    shard: str
    sample: int | None  # None: the shard as a whole
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Of a whole data set."""

    shards: int
    samples: int
    size_bytes: int  # read
    faults: tuple[Fault, ...]


def verify(
    source: Source,
    *,
    decode: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
    options: Mapping[str, str] | None = None,
) -> Verdict:
    """Read every shard and every sample, in threads. `decode` decodes every field too, which finds broken pictures."""
    numbers = range(len(source.counts))
    samples = int(source.counts.sum())
    with Bar(f"verifying {source.root}", samples, show=progress) as bar:

        def one(number: int) -> tuple[int, list[Fault]]:
            with Walk(source, options=options) as walk:
                return _verify(walk, number, bar, decode=decode)

        pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), "leyden-verify")
        try:
            found = list(pool.map(one, numbers))
        finally:
            pool.shutdown(cancel_futures=True)
    faults = tuple(fault for _, listed in found for fault in listed)
    return Verdict(
        shards=len(numbers), samples=samples, size_bytes=sum(size_bytes for size_bytes, _ in found), faults=faults
    )


def _verify(walk: Walk, number: int, bar: Bar, *, decode: bool) -> tuple[int, list[Fault]]:
    """Bytes read of a shard, and what is wrong with it."""
    name = f"shard {number}"
    faults: list[Fault] = []
    size_bytes = 0
    try:
        told = walk.source.shard(number) if walk.source.root else None
        name = told.name if told else name
        path = walk.path(number)
        if path is not None and told is not None:
            size_bytes = path.stat().st_size
            if told.size_bytes >= 0 and not told.packed and size_bytes != told.size_bytes:
                faults.append(_fault(name, f"it has {size_bytes:,} bytes; {told.size_bytes:,} were written"))
            elif told.sha256 and sha256_of(path) != told.sha256:
                faults.append(_fault(name, "its sha256 is not the one that was written down"))
        for sample, value in walk.samples(number):
            faults += [Fault(shard=name, sample=sample, what=what) for what in _wrong(value, decode=decode)]
            bar.add(1)
    except (DataError, OSError) as error:
        faults.append(_fault(name, _words(error)))
    return size_bytes, faults


def _wrong(value: Any, *, decode: bool) -> Iterator[str]:
    if isinstance(value, DataError):
        yield _words(value)
    elif decode and isinstance(value, Sample):
        for name in value:
            try:
                value[name]
            except Exception as error:  # whatever a decoder raises
                yield f"field {name!r}: {_words(error)}"


def _fault(shard: str, what: str) -> Fault:
    return Fault(shard=shard, sample=None, what=what)


def _words(error: Exception) -> str:
    return error.found if isinstance(error, LeydenError) else f"{type(error).__name__}: {error}"
