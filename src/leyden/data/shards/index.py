"""Where does each sample lie in a shard? The sidecar `NAME.idx`: written, read and checked.

Byte by byte in docs/reference/shards.md. All numbers are little-endian; columns can be read by `numpy.frombuffer`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from leyden.data.errors import CorruptError
from leyden.data.shards.schema import Field, from_json, to_json
from leyden.data.sources.base import RECORD, Ints, Records

MAGIC: Final = b"\x89LEYIX\r\n"  # a first byte above 127 and a line end: mangled by whoever takes it for text
VERSION: Final = 1
SUFFIX: Final = ".idx"
# magic, version, bytes of the JSON, samples, fields, (reserved), bytes of the shard's file, its sha256
HEAD: Final = struct.Struct("<8sIIQIIQ32s")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Index:
    """Of one shard. Columns have one entry a sample."""

    offsets: NDArray[np.uint64]  # of the sample's first tar header
    sizes: NDArray[np.uint64]  # bytes of all its members, headers and padding included
    crc32c: NDArray[np.uint32]  # of these bytes
    lengths: Mapping[str, NDArray[np.uint32]]  # of each field: characters, rows or bytes (schema.items)
    schema: Mapping[str, Field]  # as found in this shard
    size_bytes: int  # of the shard's file
    sha256: str  # of the shard's file

    def __len__(self) -> int:
        return len(self.offsets)

    def records(self, samples: Ints | slice = slice(None)) -> Records:
        """Where these samples lie."""
        offsets = self.offsets[samples]
        found = np.empty(len(offsets), RECORD)
        found["offset"], found["length"], found["crc32c"] = offsets, self.sizes[samples], self.crc32c[samples]
        return found

    def to_bytes(self) -> bytes:
        """The file's content."""
        text = json.dumps(to_json(self.schema), ensure_ascii=False, separators=(",", ":")).encode()
        head = HEAD.pack(
            MAGIC,
            VERSION,
            len(text),
            len(self),
            len(self.lengths),
            0,
            self.size_bytes,
            bytes.fromhex(self.sha256),
        )
        columns = [self.offsets.astype("<u8"), self.sizes.astype("<u8"), self.crc32c.astype("<u4")]
        columns += [self.lengths[name].astype("<u4") for name in self.schema]
        body = b"".join([head, *(column.tobytes() for column in columns), text])
        return body + struct.pack("<I", google_crc32c.value(body))

    @staticmethod
    def from_bytes(raw: bytes, name: str) -> Index:
        """Read and check the file `name`. Raises CorruptError for anything that `to_bytes` does not write."""
        if len(raw) < HEAD.size + 4 or raw[:8] != MAGIC:
            raise _broken(name, "it does not begin as an index does")
        _, version, text_bytes, samples, fields, _, size_bytes, sha256 = HEAD.unpack_from(raw)
        if version != VERSION:
            raise _broken(name, f"it is of version {version}, known is {VERSION}")
        if len(raw) != HEAD.size + samples * (20 + 4 * fields) + text_bytes + 4:
            raise _broken(name, f"it has {len(raw):,} bytes, which does not fit {samples:,} samples of {fields} fields")
        if google_crc32c.value(raw[:-4]) != crc32c_of(raw):
            raise _broken(name, "its checksum does not match")
        schema = from_json(json.loads(raw[-4 - text_bytes : -4]))
        at = HEAD.size + 20 * samples
        index = Index(
            offsets=np.frombuffer(raw, "<u8", samples, HEAD.size),
            sizes=np.frombuffer(raw, "<u8", samples, HEAD.size + 8 * samples),
            crc32c=np.frombuffer(raw, "<u4", samples, HEAD.size + 16 * samples),
            lengths={
                one: np.frombuffer(raw, "<u4", samples, at + 4 * samples * number) for number, one in enumerate(schema)
            },
            schema=schema,
            size_bytes=size_bytes,
            sha256=sha256.hex(),
        )
        ends = index.offsets + index.sizes
        if samples and (int(ends.max()) > size_bytes or int(index.sizes.max()) > size_bytes):
            raise _broken(name, f"a sample ends behind the shard's {size_bytes:,} bytes")
        return index


def crc32c_of(raw: bytes) -> int:
    """What an index file ends with: the checksum of all before. (That of the whole file is the same for every file.)"""
    return int.from_bytes(raw[-4:], "little")


def build(rows: list[tuple[int, int, int, list[int]]], schema: Mapping[str, Field], **file: Any) -> Index:
    """From (offset, size, crc32c, lengths of the fields in the schema's order) of each sample."""
    table = np.array([(*row[:3], *row[3]) for row in rows], np.uint64).reshape(len(rows), 3 + len(schema))
    return Index(
        offsets=table[:, 0],
        sizes=table[:, 1],
        crc32c=table[:, 2].astype(np.uint32),
        lengths={name: np.minimum(table[:, 3 + at], 0xFFFFFFFF).astype(np.uint32) for at, name in enumerate(schema)},
        schema=schema,
        **file,
    )


def _broken(name: str, found: str) -> CorruptError:
    return CorruptError(
        asked=f"the index {name} was read",
        found=found,
        do="Copy it again, or make it anew from the tar with `leyden data index`.",
    )
