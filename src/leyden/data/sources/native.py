"""How are Leyden's own shards read? A range of bytes a sample, whose place and checksum the index knows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, final

import google_crc32c
import numpy as np

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.shards import dataset as listing
from leyden.data.shards.dataset import Dataset, Part
from leyden.data.shards.index import Index, crc32c_of
from leyden.data.shards.record import split
from leyden.data.shards.schema import Schema, member
from leyden.data.sources.base import Fetch, Ints, Reader, Records, Shard, Source
from leyden.data.sources.sample import Sample

_READS = 16  # index files read at a time, where all are needed


@final
class Shards(Source):
    """A data set that `write_shards` or `leyden data convert` wrote: a folder or URL.

    Raises FetchError if there is none, CorruptError if its dataset.json is not whole or names files outside of it.
    """

    def __init__(self, root: str | Path, *, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = str(root)
        self.storage_options = storage_options
        try:
            raw = self._fetch(listing.NAME)
        except FetchError as error:
            raise FetchError(
                asked=f"the data set {self.root} was opened",
                found=f"its {listing.NAME} cannot be read: {error.found}",
                do="See that the path is right; that file is written last: run write_shards again to finish it, or "
                "`leyden data index` for tars of others.",
            ) from error
        self.dataset = Dataset.from_bytes(raw, self.root)
        self._counts = np.array([part.samples for part in self.dataset.parts], np.int64)
        self._fingerprint = hashlib.sha256(raw).hexdigest()[:16]
        self._indexes: dict[int, Index] = {}

    @property
    def schema(self) -> Schema:
        """Field → kind, and dtype and shape of arrays."""
        return self.dataset.schema

    @property
    def counts(self) -> Ints:
        """Samples of each shard."""
        return self._counts

    def shard(self, number: int) -> Shard:
        """As dataset.json lists it. Raises CorruptError if a link stands in its place."""
        part = self.dataset.parts[number]
        if "://" not in self.root:
            _refuse_links(Path(self.root), part.name)
        return Shard(name=part.name, size_bytes=part.size_bytes, sha256=part.sha256)

    def prepare(self, shard: int, fetch: Fetch) -> None:
        """Read the shard's index."""
        if shard not in self._indexes:
            self._indexes[shard] = self._index(self.dataset.parts[shard], fetch)

    def locate(self, shard: int, samples: Ints) -> Records:
        """By the index."""
        return self._indexes[shard].records(samples)

    def lengths(self, field: str) -> Ints | None:
        """Characters of a text, rows of an array, bytes of anything else. Reads all indexes the first time."""
        if field not in self.schema:
            return None
        columns = [index.lengths.get(field, np.zeros(len(index), np.uint32)) for index in self.load()]
        return np.concatenate(columns).astype(np.int64)

    def load(self) -> list[Index]:
        """All indexes, in the order of the shards."""
        from concurrent.futures import ThreadPoolExecutor  # workers need none

        numbers = range(len(self.dataset.parts))
        with ThreadPoolExecutor(_READS, "leyden-index") as pool:
            list(pool.map(lambda number: self.prepare(number, self._fetch), numbers))
        return [self._indexes[number] for number in numbers]

    def open(self, shard: int, path: Path | None) -> Reader:
        """Of the shard's tar at `path`."""
        assert path is not None
        return ShardReader(path, f"{self.root}/{self.dataset.parts[shard].name}", self.schema)

    def fingerprint(self) -> str:
        """Of all that dataset.json says, checksums of the shards included."""
        return f"Shards:{self._fingerprint}"

    def __getstate__(self) -> dict[str, Any]:
        """Workers are told where samples lie; they need no index."""
        return {**super().__getstate__(), "_indexes": {}}

    def _index(self, part: Part, fetch: Fetch) -> Index:
        raw = fetch(part.index)
        where = f"{self.root}/{part.index}"
        if len(raw) != part.index_bytes or crc32c_of(raw) != part.index_crc32c:
            raise CorruptError(
                asked=f"the index {where} was read",
                found=f"its {len(raw):,} bytes are not those that {listing.NAME} tells of",
                do="Copy it again from where the data set was written, or run `leyden data index` on the folder.",
            )
        index = Index.from_bytes(raw, where)
        if len(index) != part.samples or index.size_bytes != part.size_bytes or index.sha256 != part.sha256:
            raise CorruptError(
                asked=f"the index {where} was read",
                found=f"it is of another file than {listing.NAME} lists as {part.name}",
                do="Copy the data set again from where it was written.",
            )
        return index

    def _fetch(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        from leyden.data.tiers.remote import open_root

        root = open_root(self.root, self.storage_options)
        return root.get(name) if stop is None else root.get_range(name, start, stop)


@final
class ShardReader(Reader):
    """A tar and the samples in it. Not mapped: a file that shrinks would end the process by a signal, not an error."""

    def __init__(self, path: Path, where: str, schema: Schema) -> None:
        self._where = where
        self._known = {member(name, field.kind).encode(): (name, field.kind) for name, field in schema.items()}
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FetchError(
                asked=f"{where} was to be read at {path}",
                found=(error.strerror or str(error)).lower(),
                do="See that the folder is mounted and the data set whole (`leyden data verify`).",
            ) from error

    def read(self, sample: int, record: Sequence[int] | None) -> Sample:
        """One read, one checksum; fields are views of what was read."""
        if record is None:
            raise DataError(
                asked=f"sample {sample} of {self._where}",
                found="nothing says where it lies",
                do="Give locate()'s record.",
            )
        offset, length, crc32c = record
        try:
            raw = os.pread(self._file, length, offset)
        except OSError as error:
            self._corrupt(sample, offset, (error.strerror or str(error)).lower())
        if len(raw) != length:
            self._corrupt(sample, offset, f"only {len(raw):,} of its {length:,} bytes are there")
        if google_crc32c.value(raw) != crc32c:
            self._corrupt(sample, offset, f"its {length:,} bytes do not match their checksum")
        try:
            return Sample(*split(raw, self._known))
        except (ValueError, IndexError, CorruptError) as error:
            self._corrupt(sample, offset, f"its {length:,} bytes are no sample: {error}")

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _corrupt(self, sample: int, offset: int, found: str) -> NoReturn:
        raise CorruptError(
            asked=f"sample {sample} of {self._where} at byte {offset:,}",
            found=found,
            do="Copy this shard again; `leyden data verify` finds all that are broken.",
        )


def _refuse_links(root: Path, name: str) -> None:
    path = root
    for part in PurePosixPath(name).parts:
        path /= part
        if path.is_symlink():
            raise CorruptError(
                asked=f"shard {name} of {root} was asked for",
                found=f"{path} is a symbolic link",
                do="Shards are plain files: copy the file there, or open the folder the link leads to.",
            )
