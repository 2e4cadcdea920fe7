"""How do tars that others wrote become a data set? Only their indexes and dataset.json are written, beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import google_crc32c

from leyden.data.errors import CorruptError, DataError
from leyden.data.shards import dataset as listing
from leyden.data.shards.dataset import Dataset, Part, combine, describe
from leyden.data.shards.finished import sha256_of
from leyden.data.shards.index import SUFFIX, build
from leyden.data.shards.place import Folder
from leyden.data.shards.progress import Bar
from leyden.data.shards.record import BLOCK
from leyden.data.shards.schema import Field, form, items, kind_of, member, merge
from leyden.data.sources.tar import members
from leyden.data.sources.webdataset import group


def index_tars(
    folder: str | Path, *, workers: int | None = None, overwrite: bool = False, progress: bool | None = None
) -> Dataset:
    """Index all `*.tar` below a folder, so that they can be read as Leyden's own.

    Where there is a dataset.json, its schema holds, and each tar must still be the one it lists; with `overwrite` the
    tars are believed instead. Otherwise a field is named by the extension of its files, and that says its kind too.

    Raises DataError if there are no tars, CorruptError for one that is broken.
    """
    root = Path(folder)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.tar") if not path.name.startswith("."))
    if not names:
        raise DataError(
            asked=f"the tars in {root} were to be indexed",
            found="there is none",
            do="Name the folder that holds *.tar.",
        )
    threads = workers or len(os.sched_getaffinity(0))
    with closing(Folder(root)) as place, Bar(f"indexing {root}", None, show=progress) as bar:
        raw = None if overwrite else place.read(listing.NAME)
        told = Dataset.from_bytes(raw, str(root)) if raw else None
        parts = {part.name: part for part in told.parts} if told else None
        known = {member(name, one.kind): (name, one.kind) for name, one in told.schema.items()} if told else {}
        with ThreadPoolExecutor(threads, "leyden-index") as pool:
            shards = list(pool.map(partial(_index, place, known, parts, bar), names))
        found = combine(shards)
        if told:
            found = Dataset(schema=told.schema, parts=found.parts)
        place.write(listing.NAME, found.to_bytes())
        return found


def _index(
    place: Folder, known: Mapping[str, tuple[str, str]], parts: Mapping[str, Part] | None, bar: Bar, name: str
) -> Dataset:
    """`known`: extension → field and kind. `parts`: what the tars must be."""
    path = place.path / name
    sha256 = sha256_of(path)
    if parts is not None:
        _check_same(parts.get(name), name, sha256)
    rows, schema = [], dict[str, Field]()
    with path.open("rb", buffering=0) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        for offset, raw, fields in _samples(file.fileno(), str(path), size_bytes):
            found = {known.get(one, (one, kind_of(one))): content for one, content in fields.items()}
            lengths = {field: items(kind, content) for (field, kind), content in found.items()}
            schema = merge(schema, {field: _field(kind, content) for (field, kind), content in found.items()})
            rows.append((offset, len(raw), google_crc32c.value(raw), lengths))
    if not rows:
        raise DataError(asked=f"{path} was to be indexed", found="it holds no sample", do="Move it elsewhere.")
    columns = [(*row[:3], [row[3].get(field, 0) for field in schema]) for row in rows]
    index = build(columns, schema, size_bytes=size_bytes, sha256=sha256).to_bytes()
    place.write(name + SUFFIX, index)
    bar.add(len(rows))
    return describe(name, index)


def _samples(file: int, where: str, size_bytes: int) -> Iterator[tuple[int, bytes, dict[str, bytes]]]:
    """Offset, bytes in the tar, and contents by extension of each sample."""
    found = members(lambda at, length: os.pread(file, length, at), where, stop=size_bytes, whole=True)
    for sample in group(found, where):
        listed = list(sample.fields.values())
        start, stop = listed[0].start, listed[-1].stop + -listed[-1].size % BLOCK
        raw = os.pread(file, stop - start, start)
        yield start, raw, {field: raw[one.data - start : one.stop - start] for field, one in sample.fields.items()}


def _field(kind: str, content: bytes) -> Field:
    if kind not in {"array", "rows"}:
        return Field(kind=kind)
    dtype, shape = form(kind, content)
    return Field(kind=kind, dtype=dtype, shape=shape)


def _check_same(listed: Part | None, name: str, sha256: str) -> None:
    if listed is None or listed.sha256 != sha256:
        raise CorruptError(
            asked=f"{name} was to be indexed again",
            found=f"{listing.NAME} " + ("lists it with another sha256" if listed else "does not list it"),
            do="If the tar is right as it is, say --overwrite; otherwise copy it again from where it was written.",
        )
