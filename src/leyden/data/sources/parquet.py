"""How are tables read, a row at a time in any order? Arrow files are mapped into memory; Parquet becomes Arrow first.

A row group of Parquet can only be decoded as a whole, which shuffled reading would do for every sample, or in every
worker at the least. So the tiers keep an uncompressed Arrow file of it instead (`arrived`), decoded once on a host: a
row is then a few pointers into the page cache that all workers share.
"""

from __future__ import annotations

import hashlib
import io
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import numpy as np

from leyden.core.errors import nearest
from leyden.data.errors import CorruptError, DataError
from leyden.data.sources.base import Ints, Reader, Shard, Source
from leyden.data.sources.columns import Column, column
from leyden.data.sources.files import TABLES, File, Given, Window, each, find, window
from leyden.data.sources.sample import Raw, Sample
from leyden.data.tiers.here import local_folder

if TYPE_CHECKING:
    from leyden.data.tiers.remote import Root

_FOOTER_BYTES: Final = 1 << 16  # what pyarrow reads first of a Parquet file
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    file: File
    rows: int
    packed: bool  # must be decoded: Parquet, and Arrow with compressed columns
    names: tuple[str, ...]


@final
class Parquet(Source):
    """Parquet, Arrow and Feather files, here or in an object store; a file is a shard.

    `data` is a folder or URL, a file, a pattern ("s3://bucket/train-{000..099}.parquet"), or a list. `columns`: those
    that are wanted, all by default. A sample has numbers and text as Python values, lists of numbers as arrays, bytes
    as bytes, and structs of "bytes" and "path", which is how Hugging Face stores pictures, as pictures. Needs pyarrow
    (`leyden[parquet]`). Raises DataError for missing columns, CorruptError for files that are damaged.
    """

    def __init__(
        self,
        data: Given,
        *,
        columns: Sequence[str] | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        _arrow()
        root, files = find(data, TABLES, storage_options)
        self.root, self.storage_options = root.url, storage_options
        tables = each(lambda file: _open(root, file), files)
        self._tables = [table for table in tables if table.rows]
        if not self._tables:
            raise DataError(asked=f"{self.root} was opened", found="its tables have no rows", do="Write some.")
        self._columns = self._chosen(columns)
        if any(table.packed for table in self._tables):  # one packed, all packed: `arrived` takes any kind
            self._tables = [replace(table, packed=True) for table in self._tables]
        self._counts = np.array([table.rows for table in self._tables], np.int64)

    def _chosen(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """The wanted columns, which every file must have."""
        wanted = tuple(columns or self._tables[0].names)
        for table in self._tables:
            if missing := [name for name in wanted if name not in table.names]:
                raise DataError(
                    asked=f"column {missing[0]!r} of {self.root} was asked for",
                    found=f"{table.file.name} has {', '.join(table.names)}",
                    do=f"Say columns=… with names that all files have; {nearest(missing[0], table.names)}",
                )
        return wanted

    @property
    def counts(self) -> Ints:
        """Rows of each file."""
        return self._counts

    def shard(self, number: int) -> Shard:
        """The file."""
        table = self._tables[number]
        return Shard(name=table.file.name, size_bytes=table.file.size_bytes, packed=table.packed)

    def arrived(self, shard: int, path: Path) -> None:
        """Checks all pages and offsets, and replaces the file by an uncompressed Arrow file with all its columns."""
        table = self._tables[shard]
        where = f"{self.root}/{table.file.name}"
        if not table.packed:
            return
        draft = path.with_name(f"{path.name}.unpacked")
        rows = _tried(lambda: _unpack(path, draft), where)
        if rows != table.rows:
            raise _broken(where, f"it has {rows:,} rows, its footer said {table.rows:,}")
        draft.replace(path)

    def lengths(self, field: str) -> Ints | None:
        """Characters of a text, bytes, entries of a list; 0 where there is none. Reads that column of all files."""
        from leyden.data.tiers.remote import open_root

        if any(field not in table.names for table in self._tables):
            return None
        root = open_root(self.root, self.storage_options)
        files = [table.file for table in self._tables]
        found = each(lambda file: _tried(lambda: _lengths(root, file, field), f"{self.root}/{file.name}"), files)
        known = [one for one in found if one is not None]
        return np.concatenate(known) if len(known) == len(files) else None

    def open(self, shard: int, path: Path | None) -> Reader:
        """Reads single rows."""
        assert path is not None
        return _Rows(path, self._tables[shard], self._columns, f"{self.root}/{self._tables[shard].file.name}")

    def fingerprint(self) -> str:
        """Of names, sizes and rows."""
        listed = [(table.file.name, table.file.size_bytes, table.rows) for table in self._tables]
        return f"Parquet:{hashlib.sha256(repr(listed).encode()).hexdigest()[:16]}"


@final
class _Rows(Reader):
    """An Arrow file, mapped."""

    def __init__(self, path: Path, table: _Table, columns: Sequence[str], where: str) -> None:
        self._table, self._where = table, where
        self._batches = _tried(lambda: _batches(_arrow().memory_map(str(path))), where)
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]
        if self._starts[-1] != table.rows:
            raise _broken(where, f"it has {self._starts[-1]:,} rows, there were {table.rows:,} when it was opened")
        schema = self._batches[0].schema
        self._columns: list[tuple[str, int, Column]] = [
            (name, at, column(schema.field(at).type)) for name in columns for at in [schema.get_field_index(name)]
        ]
        self._checked = set(range(len(self._batches))) if table.packed else set[int]()

    def read(self, sample: int, record: Sequence[int] | None) -> Sample:
        number = bisect_right(self._starts, sample) - 1
        batch, row = self._batches[number], sample - self._starts[number]
        if number not in self._checked:  # wrong offsets would lead out of the file
            _tried(lambda: batch.validate(full=True), f"rows {self._starts[number]:,} and on of {self._where}")
            self._checked.add(number)
        fields: dict[str, tuple[str, Raw]] = {}
        values: dict[str, Any] = {}
        for name, at, read in self._columns:
            kind, value = read(batch.column(at), row)
            if kind is None:
                values[name] = value
            else:
                fields[name] = kind, value
        return Sample(f"{self._table.file.name}:{sample}", fields, values)

    def close(self) -> None:
        self._batches = []


def _open(root: Root, file: File) -> _Table:
    """Its rows and columns, from its footer (of an Arrow file: from all its batches)."""
    where = f"{root.url}/{file.name}"
    if file.name.endswith(".parquet"):
        found = _tried(lambda: _parquet().read_metadata(_stream(root, file, _FOOTER_BYTES)), where)
        return _Table(file=file, rows=found.num_rows, packed=True, names=tuple(found.schema.to_arrow_schema().names))
    batches = _tried(lambda: _batches(_stream(root, file, 1 << 24)), where)
    names = tuple(batches[0].schema.names) if batches else ()
    packed = local_folder(root.url) is None or any(not _mapped(batch) for batch in batches[:1])
    return _Table(file=file, rows=sum(batch.num_rows for batch in batches), packed=packed, names=names)


def _lengths(root: Root, file: File, field: str) -> Ints | None:
    from pyarrow import compute, types

    stream = _stream(root, file, _FOOTER_BYTES)
    if file.name.endswith(".parquet"):
        table = _parquet().ParquetFile(stream).read(columns=[field])
    else:
        table = _arrow().Table.from_batches(_batches(stream))
    kind = table.schema.field(field).type
    for fits, measure in (
        ((types.is_string, types.is_large_string), compute.utf8_length),
        ((types.is_binary, types.is_large_binary), compute.binary_length),
        ((types.is_list, types.is_large_list, types.is_fixed_size_list), compute.list_value_length),
    ):
        if any(fit(kind) for fit in fits):
            return np.asarray(compute.fill_null(measure(table.column(field)), 0), np.int64)
    return None


def _stream(root: Root, file: File, ahead_bytes: int) -> Any:
    """What pyarrow reads from: a mapped file, or ranges of a remote one."""
    if local_folder(root.url) is not None:
        return _arrow().memory_map(str(Path(root.url, file.name)))
    return _arrow().PythonFile(_Ranges(window(root, file, ahead_bytes), file.size_bytes), mode="r")


@final
class _Ranges(io.RawIOBase):
    """A remote file, as Python has files."""

    def __init__(self, window: Window, size_bytes: int) -> None:
        self._window, self._size, self._at = window, size_bytes, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raw = self._window.read(self._at, self._size - self._at if size < 0 else size)
        self._at += len(raw)
        return raw


def _batches(stream: Any) -> list[Any]:
    """The record batches of an Arrow file, or of an Arrow stream, which is what Hugging Face's `datasets` keeps."""
    ipc = _arrow().ipc
    magic = stream.read(6)
    stream.seek(0)
    if magic != b"ARROW1":
        return list(ipc.open_stream(stream))
    reader = ipc.open_file(stream)
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def _mapped(batch: Any) -> bool:
    """False if its bytes are no part of the file: they were compressed."""
    buffers = [buffer for part in batch.columns for buffer in part.buffers() if buffer is not None and buffer.size]
    return not any(buffer.is_mutable for buffer in buffers)


def _unpack(path: Path, to: Path) -> int:
    """Rows written: each row group, or batch, in turn."""
    arrow = _arrow()
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet:
        source = _parquet().ParquetFile(path, page_checksum_verification=True, memory_map=True)
        schema, groups = source.schema_arrow, (source.read_row_group(at) for at in range(source.num_row_groups))
    else:
        batches = _batches(arrow.memory_map(str(path)))
        schema, groups = batches[0].schema, (arrow.Table.from_batches([batch]) for batch in batches)
    rows = 0
    with arrow.ipc.new_file(str(to), schema) as out:
        for group in groups:
            group.validate(full=True)
            out.write_table(group.combine_chunks())
            rows += group.num_rows
    return rows


def _tried(work: Callable[[], T], where: str) -> T:
    """What Arrow raises for bytes it cannot read is a CorruptError."""
    arrow = _arrow()
    try:
        return work()
    except (arrow.ArrowException, OSError, EOFError) as error:
        raise _broken(where, str(error).partition("\n")[0]) from error


def _broken(where: str, found: str) -> CorruptError:
    return CorruptError(asked=f"{where} was read", found=found, do="It was cut off or changed: copy or write it again.")


def _arrow() -> Any:
    try:
        import pyarrow as arrow
        import pyarrow.ipc
    except ModuleNotFoundError:
        raise DataError(
            asked="Parquet or Arrow files were to be read",
            found="pyarrow is not installed",
            do="pip install 'leyden[parquet]'",
        ) from None
    return arrow


def _parquet() -> Any:
    import pyarrow.parquet

    return pyarrow.parquet
