"""Where do samples lie, and how is one read? The contract of every format.

A source is a list of shards, each a file with samples in it. The parent process asks `locate` where samples lie, the
tiers bring those bytes to this host, and a worker reads them with `open(...).read(...)`. A source is sent to workers by
cloudpickle, so it holds no open files. Nothing here may import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

# Where a sample lies in its shard's file, in bytes. A negative crc32c is nothing that others can check: -1, or a
# number that only the format's own reader understands.
RECORD: Final = np.dtype([("offset", "<i8"), ("length", "<i8"), ("crc32c", "<i8")])
Ints = NDArray[np.int64]
Records = NDArray[Any]  # of RECORD


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file of samples. Several shards of a source may lie in one file: then they have one name."""

    name: str  # relative to the source's root; a plain relative path, checked when the index is read
    size_bytes: int  # negative: unknown; of the file as it is fetched
    sha256: str | None = None  # of the file; None where the format has none
    packed: bool = False  # must be fetched whole and pass `arrived` before it can be read, from a local folder too


class Fetch(Protocol):
    """Reads a small file of the root, or bytes start:stop of any file of it."""

    def __call__(self, name: str, start: int = 0, stop: int | None = None) -> bytes: ...


class Source(ABC):
    """Samples in shards. `root` is a folder or URL; empty where there is nothing to fetch (a map-style data set)."""

    root: str = ""
    storage_options: Mapping[str, str] | None = None  # that the root was opened with

    @property
    @abstractmethod
    def counts(self) -> Ints:
        """Samples of each shard, int64 [shards]."""

    @abstractmethod
    def shard(self, number: int) -> Shard:
        """The file that holds shard `number`. Only called where `root` is not empty."""

    def prepare(self, shard: int, fetch: Fetch) -> None:
        """Learn what `locate` needs, in the parent, from any thread (one a shard). Default: nothing."""
        return

    def locate(self, shard: int, samples: Ints) -> Records | None:
        """Where these samples lie in the shard's file; None if the whole file is needed. After `prepare`."""
        return None

    def arrived(self, shard: int, path: Path) -> None:
        """The whole file lies at `path` and nobody reads it yet: check what only the format knows, or replace the file.

        Raises CorruptError. Called in a thread of the parent. Default: nothing.
        """
        return

    def lengths(self, field: str) -> Ints | None:
        """How long `field` is in each sample (characters, tokens, bytes), all shards in order; None if unknown."""
        return None

    @abstractmethod
    def open(self, shard: int, path: Path | None) -> Reader:
        """A reader of the shard's file at `path`, where the tiers put it (None without a root). In a worker."""

    def __getstate__(self) -> dict[str, Any]:
        """Workers read what is on this host: credentials are no business of theirs."""
        return {**self.__dict__, "storage_options": None}

    def fingerprint(self) -> str:
        """Changes when the samples are others: a resumed plan is held against it. Cheap."""
        return f"{type(self).__name__}:{len(self.counts)}:{int(self.counts.sum())}"


class Reader(ABC):
    """An open shard in a worker. Used by one thread at a time."""

    @abstractmethod
    def read(self, sample: int, record: Sequence[int] | None) -> Any:
        """Sample number `sample`: a `Sample`, or what a map-style data set returns.

        `record` is (offset, length, crc32c) if `locate` gave one; only these bytes of the file need be there then.
        Raises CorruptError if the bytes do not match their checksum.
        """

    def close(self) -> None:
        """Let go of the file."""
        return
