"""How are shards read that MosaicML Streaming wrote (MDS, version 2)?

`index.json` lists shards with their columns, sizes and hashes. A shard is: number of samples n (uint32), n + 1 offsets
(uint32, from the file's begin), the columns once more as JSON, the samples. A sample is: the sizes (uint32) of all
columns of no fixed size, then the columns' bytes. Numbers are little-endian. Seen in streaming 0.13, base/format/mds.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from leyden.data.errors import CorruptError, DataError
from leyden.data.sources.base import RECORD, Fetch, Ints, Reader, Records, Shard, Source
from leyden.data.sources.mds_values import Decoder, decoder
from leyden.data.sources.sample import Raw, Sample
from leyden.data.sources.tar import check_name
from leyden.data.sources.unpack import OPENERS, unpack

Offsets = NDArray[np.uint32]
Columns = tuple[tuple[str, str, int], ...]  # name, encoding, size in bytes (0: differs)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    name: str
    size_bytes: int
    hashes: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A shard as index.json describes it."""

    samples: int
    raw: _File
    packed: _File | None
    compression: str  # "zstd"; "" for none
    columns: Columns


@final
class MDS(Source):
    """A folder or URL with an `index.json` and shards of MosaicML Streaming.

    Pictures and text are decoded when they are asked for, other columns at once. Compressed shards (zstd, gz, bz2) are
    unpacked once on this host. Hashes in the index are checked for shards that are fetched or unpacked; a plain shard
    with hashes is fetched whole for that. Raises DataError for encodings and compressions not known here and for
    pickled columns, CorruptError for an index or a shard that contradicts itself.
    """

    def __init__(self, root: str | os.PathLike[str], *, storage_options: Mapping[str, str] | None = None) -> None:
        from leyden.data.tiers.remote import open_root  # workers import this file, but not obstore

        opened = open_root(os.fspath(root).rstrip("/"), storage_options)
        self.root, self.storage_options = opened.url, storage_options
        raw = opened.get("index.json")
        self._parts = _parse(raw, f"{self.root}/index.json")
        self._fingerprint = f"MDS:{hashlib.sha256(raw).hexdigest()[:16]}"
        self._counts = np.array([part.samples for part in self._parts], np.int64)
        self._offsets: dict[int, Offsets] = {}

    @property
    def counts(self) -> Ints:
        """Samples of each shard."""
        return self._counts

    def shard(self, number: int) -> Shard:
        """The file that is stored: the compressed one where there is one."""
        part = self._parts[number]
        file = part.packed or part.raw
        sha256 = file.hashes.get("sha256")
        return Shard(name=file.name, size_bytes=file.size_bytes, sha256=sha256, packed=part.packed is not None)

    def prepare(self, shard: int, fetch: Fetch) -> None:
        """Reads the shard's offsets, unless it is needed whole."""
        part = self._parts[shard]
        if part.packed is None and not part.raw.hashes and shard not in self._offsets:
            raw = fetch(part.raw.name, 0, 4 * (part.samples + 2))
            self._offsets[shard] = _offsets(raw, part, self._where(shard))

    def locate(self, shard: int, samples: Ints) -> Records | None:
        """None for compressed shards and for those with hashes."""
        offsets = self._offsets.get(shard)
        if offsets is None:
            return None
        records = np.empty(len(samples), RECORD)
        records["offset"] = offsets[samples]
        records["length"] = offsets[samples + 1] - offsets[samples]
        records["crc32c"] = -1
        return records

    def arrived(self, shard: int, path: Path) -> None:
        """Checks hashes, and unpacks."""
        part, where = self._parts[shard], self._where(shard)
        if part.packed is None:
            _check(path, part.raw, where)
            return
        _check(path, part.packed, where)
        draft = path.with_name(f"{path.name}.unpacked")
        unpack(path, draft, part.compression, part.raw.size_bytes, where)
        _check(draft, part.raw, f"{where}, unpacked")
        draft.replace(path)

    def open(self, shard: int, path: Path | None) -> Reader:
        """Reads samples one by one."""
        assert path is not None
        return _Shard(path, self._parts[shard], self._where(shard))

    def fingerprint(self) -> str:
        """Of index.json."""
        return self._fingerprint

    def _where(self, shard: int) -> str:
        return f"{self.root}/{self.shard(shard).name}"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_offsets": {}}


@final
class _Shard(Reader):
    def __init__(self, path: Path, part: _Part, where: str) -> None:
        self._part, self._where = part, where
        self._file = path.open("rb", buffering=0)
        self._offsets: Offsets | None = None
        self._decoders: list[tuple[str, Decoder | str]] = [(name, decoder(kind)) for name, kind, _ in part.columns]
        self._sizes = np.array([size for *_, size in part.columns], np.int64)
        self._differ = self._sizes == 0
        self._head = 4 * int(self._differ.sum())

    def read(self, sample: int, record: Sequence[int] | None) -> Sample:
        offset, length = self._find(sample) if record is None else record[:2]
        raw = memoryview(os.pread(self._file.fileno(), length, offset))
        sizes = self._sizes.copy()
        where = f"sample {sample} of {self._where}"
        if len(raw) == length >= self._head:
            sizes[self._differ] = np.frombuffer(raw[: self._head], "<u4")
        if len(raw) != length or self._head + int(sizes.sum()) != length:
            raise _broken(where, f"the sizes of its columns do not add up to its {length:,} bytes")
        fields: dict[str, tuple[str, Raw]] = {}
        values: dict[str, Any] = {}
        here = self._head
        for (name, decode), size in zip(self._decoders, sizes.tolist(), strict=True):
            content, here = raw[here : here + size], here + size
            if isinstance(decode, str):
                fields[name] = decode, content
            else:
                try:
                    values[name] = decode(content)
                except (ValueError, LookupError, ArithmeticError) as error:
                    raise _broken(where, f"column {name!r} cannot be decoded: {error}") from error
        return Sample(f"{self._part.raw.name}:{sample}", fields, values)

    def _find(self, sample: int) -> tuple[int, int]:
        if self._offsets is None:
            size = os.fstat(self._file.fileno()).st_size
            if size != self._part.raw.size_bytes:
                raise _broken(self._where, f"it has {size:,} bytes, index.json says {self._part.raw.size_bytes:,}")
            raw = os.pread(self._file.fileno(), 4 * (self._part.samples + 2), 0)
            self._offsets = _offsets(raw, self._part, self._where)
        start, stop = self._offsets[sample : sample + 2].tolist()
        return start, stop - start

    def close(self) -> None:
        self._file.close()


def _offsets(raw: bytes, part: _Part, where: str) -> Offsets:
    """The n + 1 offsets at a shard's begin. Raises CorruptError if they are not what index.json leads to expect."""
    n = part.samples
    words = np.frombuffer(raw, "<u4") if len(raw) == 4 * (n + 2) else np.zeros(1, "<u4")
    offsets = words[1:]
    falls = (offsets[1:] < offsets[:-1]).any()
    if words[0] != n or offsets[0] < len(raw) or offsets[-1] != part.raw.size_bytes or falls:
        raise _broken(where, f"its offsets are not those of {n:,} samples in {part.raw.size_bytes:,} bytes")
    return offsets


def _broken(where: str, found: str) -> CorruptError:
    return CorruptError(
        asked=f"{where} was read", found=found, do="It was cut off or changed: copy it again, or write it anew."
    )


def _check(path: Path, file: _File, where: str) -> None:
    """Raises CorruptError if size or hashes are others than index.json says."""
    size = path.stat().st_size
    if size != file.size_bytes:
        raise _broken(where, f"it has {size:,} bytes, index.json says {file.size_bytes:,}")
    for algorithm, expected in file.hashes.items():
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, lambda name=algorithm: _hash(name)).hexdigest()  # type: ignore[misc]
        if found != expected:
            raise _broken(where, f"its {algorithm} is {found}, index.json says {expected}")


def _hash(algorithm: str) -> Any:
    if not algorithm.startswith("xxh"):
        return hashlib.new(algorithm)
    try:
        return getattr(importlib.import_module("xxhash"), algorithm)()
    except ModuleNotFoundError:
        raise DataError(
            asked=f"the index holds {algorithm} hashes",
            found="the package xxhash, which computes them, is not installed",
            do="pip install xxhash",
        ) from None


def _parse(raw: bytes, where: str) -> list[_Part]:
    """The shards of an index.json, each checked."""
    try:
        listed = json.loads(raw)
        parts = [_part(one, where) for one in listed["shards"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CorruptError(
            asked=f"{where} was opened",
            found=f"it is not what MosaicML Streaming writes ({type(error).__name__}: {error})",
            do="See whether the file is whole.",
        ) from error
    if not parts:
        raise DataError(asked=f"{where} was opened", found="it lists no shards", do="Write some samples.")
    return parts


def _part(one: Mapping[str, Any], where: str) -> _Part:
    if (one["version"], one["format"]) != (2, "mds"):
        raise _unknown(
            where, f"a shard in format {one['format']} version {one['version']}", "Only MDS version 2 is read."
        )
    files = list(_files(one, where))
    compression = (one["compression"] or "").partition(":")[0]
    if compression not in OPENERS and len(files) > 1:
        raise _unknown(where, f"compression {compression!r}", f"Use {', '.join(OPENERS)}.")
    columns = tuple(
        (str(name), str(encoding), int(size or 0))
        for name, encoding, size in zip(one["column_names"], one["column_encodings"], one["column_sizes"], strict=True)
    )
    for name, encoding, _ in columns:
        if encoding == "pkl":
            raise _unknown(
                where, f"column {name!r} is pickled", "Unpickling runs code of its writer: store JSON or arrays."
            )
        try:
            decoder(encoding)
        except (KeyError, TypeError, ValueError):
            raise _unknown(
                where, f"encoding {encoding!r} of column {name!r}", "Write it in another encoding."
            ) from None
    samples = int(one["samples"])
    if samples < 1:
        raise ValueError(f"a shard of {samples} samples")
    return _Part(
        samples=samples,
        raw=files[0],
        packed=files[1] if len(files) > 1 else None,
        compression=compression,
        columns=columns,
    )


def _files(one: Mapping[str, Any], where: str) -> Iterator[_File]:
    """The plain file, then the compressed one if there is one."""
    for key in ("raw_data", "zip_data"):
        if one[key]:
            check_name(one[key]["basename"], where)
            hashes = one[key].get("hashes") or {}
            yield _File(name=one[key]["basename"], size_bytes=int(one[key]["bytes"]), hashes=hashes)


def _unknown(where: str, found: str, do: str) -> DataError:
    return DataError(asked=f"{where} was opened", found=f"it has {found}", do=do)
