"""What is in a data set? `dataset.json`: its schema, its shards, their checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import PurePosixPath
from typing import Any, Final

from leyden.data.errors import CorruptError
from leyden.data.shards.index import SUFFIX, Index, crc32c_of
from leyden.data.shards.schema import Field, from_json, merge, to_json

NAME: Final = "dataset.json"
FORMAT: Final = "leyden-shards"
VERSION: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One shard as dataset.json lists it."""

    name: str
    samples: int
    size_bytes: int
    sha256: str
    index_bytes: int
    index_crc32c: int  # that the index ends with

    @property
    def index(self) -> str:
        """The name of its index."""
        return self.name + SUFFIX


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A whole data set."""

    schema: Mapping[str, Field]
    parts: Sequence[Part]

    @property
    def samples(self) -> int:
        """Of all shards."""
        return sum(part.samples for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Of all shards, without their indexes."""
        return sum(part.size_bytes for part in self.parts)

    def to_bytes(self) -> bytes:
        """The content of dataset.json, with a line a shard."""
        schema = ",\n".join(f"{_line(name)}: {_line(field)}" for name, field in to_json(self.schema).items())
        shards = ",\n".join(_line(_told(part)) for part in self.parts)
        head = (
            f'"format": "{FORMAT}", "version": {VERSION},\n "samples": {self.samples}, "size_bytes": {self.size_bytes}'
        )
        return f'{{{head},\n "schema": {{\n{schema}\n }},\n "shards": [\n{shards}\n ]\n}}\n'.encode()

    @staticmethod
    def from_bytes(raw: bytes, root: str) -> Dataset:
        """Read and check it. Raises CorruptError for what is not whole, and for names that lead out of the root."""
        try:
            told = json.loads(raw)
            if told["format"] != FORMAT or told["version"] != VERSION:
                raise ValueError(f"it is {told['format']} of version {told['version']}, known is {FORMAT} {VERSION}")
            parts = [_part(one) for one in told["shards"]]
            dataset = Dataset(schema=from_json(told["schema"]), parts=parts)
            if dataset.samples != told["samples"] or dataset.size_bytes != told["size_bytes"]:
                raise ValueError("its shards do not add up to its totals")
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(
                asked=f"the data set {root} was opened",
                found=f"its {NAME} cannot be used: {_words(error)}",
                do="Copy it again from where it was written, or write the data set anew.",
            ) from error
        return dataset


def describe(name: str, raw: bytes) -> Dataset:
    """The data set that shard `name` is alone, by the content of its index file."""
    index = Index.from_bytes(raw, name + SUFFIX)
    part = Part(
        name=name,
        samples=len(index),
        size_bytes=index.size_bytes,
        sha256=index.sha256,
        index_bytes=len(raw),
        index_crc32c=crc32c_of(raw),
    )
    return Dataset(schema=index.schema, parts=[part])


def combine(shards: Iterable[Dataset]) -> Dataset:
    """All of them as one, in their order."""
    listed = list(shards)
    return Dataset(
        schema=reduce(merge, (one.schema for one in listed)), parts=[part for one in listed for part in one.parts]
    )


def _part(told: Mapping[str, Any]) -> Part:
    name = told["name"]
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name or str(path) != name:
        raise ValueError(f"the shard's name {name!r} is not a plain relative path")
    return Part(
        name=name,
        samples=int(told["samples"]),
        size_bytes=int(told["size_bytes"]),
        sha256=str(told["sha256"]),
        index_bytes=int(told["index"]["size_bytes"]),
        index_crc32c=int(told["index"]["crc32c"]),
    )


def _told(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "samples": part.samples,
        "size_bytes": part.size_bytes,
        "sha256": part.sha256,
        "index": {"size_bytes": part.index_bytes, "crc32c": part.index_crc32c},
    }


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
