"""What is it that was given as data? A source, a location in one of the known formats, or a map-style data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from leyden.data.errors import DataError, FetchError
from leyden.data.sources.base import Source
from leyden.data.sources.mapstyle import MapStyle
from leyden.data.sources.mds import MDS
from leyden.data.sources.native import Shards
from leyden.data.sources.parquet import ENDINGS, Parquet
from leyden.data.sources.webdataset import TARS, WebDataset
from leyden.data.tiers.here import local_folder
from leyden.data.tiers.remote import open_root

_PICTURES: Final = (".jpg", ".jpeg", ".png")
_KNOWN: Final = (
    "leyden's shards (dataset.json), MosaicML's (index.json), *.tar, *.parquet, *.arrow and *.feather are read"
)


def open_source(data: Any, *, storage_options: Mapping[str, str] | None = None) -> Source:
    """The source that `data` is or names: a folder, URL, file, pattern, list of files, Source or map-style data set.

    Raises DataError if it is none of these, FetchError if there is nothing.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return _open([os.fspath(data)], storage_options)
    if _is_files(data):
        return _open([os.fspath(one) for one in data], storage_options)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return MapStyle(data)
    raise DataError(
        asked="data to load from",
        found=f"a {type(data).__name__} was given, which has no len() or no []",
        do="Give a path, URL, Source or map-style data set; store an iterable's samples with write_shards first.",
    )


def _is_files(data: Any) -> bool:
    """A list of strings can also be a data set of texts: it is files if all of them end as such."""
    return isinstance(data, Sequence) and bool(data) and all(_format(one) is not None for one in data)


def _format(path: Any) -> type[WebDataset] | type[Parquet] | None:
    """The format of a file by its name's end."""
    if not isinstance(path, str | os.PathLike):
        return None
    name = os.fspath(path)
    return WebDataset if name.endswith(TARS) else Parquet if name.endswith(ENDINGS) else None


def _open(paths: Sequence[str], options: Mapping[str, str] | None) -> Source:
    formats = {_format(path) for path in paths}
    kind = formats.pop()
    if kind is not None and not formats:
        return kind(paths, storage_options=options)
    return _open_folder(paths[0], options)


def _open_folder(path: str, options: Mapping[str, str] | None) -> Source:
    """By the index in it, else by the names of its files."""
    path = path.removesuffix("/dataset.json").removesuffix("/index.json")
    folder = local_folder(path)
    if folder is not None and not folder.is_dir():
        raise _unknown(path, "it is a file of another kind" if folder.exists() else "there is no such file or folder")
    root = open_root(path, options)
    for name, kind in (("dataset.json", Shards), ("index.json", MDS)):
        try:
            root.stat(name)
        except FetchError:
            continue
        return kind(path, storage_options=options)
    names = root.names()
    found = Counter(_format(name) for name in names)
    del found[None]
    if len(found) == 1:
        (format_,) = found
        assert format_ is not None
        return format_(path, storage_options=options)
    endings = Counter(PurePosixPath(name).suffix.lower() or "(none)" for name in names)
    if sum(endings[one] for one in _PICTURES) > len(names) // 2:
        raise DataError(
            asked=f"{path} was opened as data",
            found=f"it is a folder of {len(names):,} single pictures",
            do="Pack them once: leyden data convert FOLDER DESTINATION.",
        )
    counted = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    raise _unknown(path, f"there lie {counted}" if names else "there is nothing")


def _unknown(path: str, found: str) -> DataError:
    return DataError(asked=f"{path} was opened as data", found=found, do=f"Check the path; {_KNOWN}.")
