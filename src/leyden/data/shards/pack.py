"""How does one shard come to be? Samples are appended to a scratch file; its index is counted along the way."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import google_crc32c

from leyden.data.errors import DataError, SampleError
from leyden.data.shards.encode import Coded, encode
from leyden.data.shards.index import build
from leyden.data.shards.place import TEMPORARY, unwritable
from leyden.data.shards.record import END, join
from leyden.data.shards.schema import Schema, member, merge

_KEY: Final = re.compile(r"(?!/)(?!.*(^|/)\.\.?(/|$))(.*/)?[^./\0]+", re.DOTALL)
Encoded = tuple[str, bytes, list[int], Schema]  # key, bytes in the tar, lengths of fields, schema as found


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Makes of a sample what will stand in the tar. `tile`: JPEGs are stored so that a crop can be cut out of them."""

    schema: Schema
    tile: bool = False

    def __call__(self, sample: Mapping[str, Any], number: int) -> Encoded:
        """Its key is its "__key__", else its number."""
        key = _key(sample, number)
        fields = encode(self.schema, sample, key)
        if self.tile:
            fields |= {name: _tiled(one, name, key) for name, one in fields.items() if self.schema[name].kind == "jpeg"}
        raw = join(key, ((member(name, self.schema[name].kind), one[0]) for name, one in fields.items()))
        return key, raw, [one[1] for one in fields.values()], {name: one[2] for name, one in fields.items()}

    def slow(self, sample: Mapping[str, Any]) -> bool:
        """Whether it has pictures to compress, which threads do at the same time."""
        pictures = [sample.get(name) for name, field in self.schema.items() if field.kind in {"jpeg", "png"}]
        return any(self.tile or not isinstance(one, bytes | memoryview | Path) for one in pictures)


def _tiled(one: Coded, name: str, key: str) -> Coded:
    from leyden.data.decode import tiled

    try:
        raw = tiled(one[0])
    except SampleError as error:
        raise SampleError(
            asked=f"field {name!r} of sample {key} was to be tiled", found=error.found, do=error.do
        ) from error
    return raw, len(raw), one[2]


def _key(sample: Mapping[str, Any], number: int) -> str:
    key = f"{number:09}"
    if isinstance(sample, Mapping) and "__key__" in sample:
        key = sample["__key__"]
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise DataError(
                asked=f'sample {number} was to be stored under its "__key__"',
                found=f"{key!r} cannot begin a file's name",
                do="Use a str without dots in its last part: a name in a tar ends at the first dot.",
            )
    return key


@final
class Pack:
    """A shard being written: `add` …, then `finish`, or `abandon`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.size_bytes = name, 0
        self.path = folder / f"{TEMPORARY}{os.getpid()}-{name}"
        self._rows: list[tuple[int, int, int, list[int]]] = []
        self._keys: set[str] = set()
        self._schema: Schema | None = None
        self._sha256 = hashlib.sha256()
        try:
            self._file = self.path.open("xb")
        except OSError as error:
            raise unwritable(name, folder, error) from error

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, one: Encoded) -> None:
        """Append a sample. Raises DataError for a key that is in the shard already, or a full disk."""
        key, raw, lengths, found = one
        if key in self._keys:
            raise DataError(
                asked=f"sample {key} was to be stored in {self.name}",
                found="a sample with this key is there already",
                do='Give every sample another "__key__", or none: then they are numbered.',
            )
        self._keys.add(key)
        self._rows.append((self.size_bytes, len(raw), google_crc32c.value(raw), lengths))
        self._schema = merge(self._schema, found) if self._schema else found
        self._write(raw)

    def finish(self) -> bytes:
        """End the tar, safely on disk at `path`; the content of its index file."""
        self._write(END)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise unwritable(self.name, self.path.parent, error) from error
        assert self._schema is not None
        sha256 = self._sha256.hexdigest()
        return build(self._rows, self._schema, size_bytes=self.size_bytes, sha256=sha256).to_bytes()

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # what was still to be written has no room
            self._file.close()

    def _write(self, raw: bytes) -> None:
        try:
            self._file.write(raw)
        except OSError as error:
            raise unwritable(self.name, self.path.parent, error) from error
        self._sha256.update(raw)
        self.size_bytes += len(raw)
