"""What is it that was given as data? A source, a location in one of the known formats, or a map-style data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from leyden.data.errors import DataError, FetchError
from leyden.data.sources.base import Source
from leyden.data.sources.files import TABLES, TARS
from leyden.data.tiers.here import local_folder

if TYPE_CHECKING:
    from leyden.data.tiers.remote import Root

_UNFINISHED: Final = "leyden-unfinished.json"  # of shards.write
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
        from leyden.data.sources.mapstyle import MapStyle

        return MapStyle(data)
    raise DataError(
        asked="data to load from",
        found=f"a {type(data).__name__} was given, which has no len() or no []",
        do="Give a path, URL, Source or map-style data set; store an iterable's samples with write_shards first.",
    )


def _is_files(data: Any) -> bool:
    """A list of strings can also be a data set of texts: it is files if all of them end as such."""
    return (
        isinstance(data, list | tuple)
        and bool(data)
        and all(isinstance(one, str | os.PathLike) and os.fspath(one).endswith((*TARS, *TABLES)) for one in data)
    )


def _open(paths: list[str], options: Mapping[str, str] | None) -> Source:
    """By the files' names; a folder by the index in it, else by the names of its files."""
    if all(path.endswith(TARS) for path in paths):
        from leyden.data.sources.webdataset import WebDataset

        return WebDataset(paths, storage_options=options)
    if all(path.endswith(TABLES) for path in paths):
        from leyden.data.sources.parquet import Parquet

        return Parquet(paths, storage_options=options)
    path = paths[0].removesuffix("/dataset.json").removesuffix("/index.json")
    folder = local_folder(path)
    if len(paths) > 1:
        raise _unknown(f"{path} and {len(paths) - 1} more", "they are files of several kinds")
    if folder is not None and not folder.is_dir():
        raise _unknown(path, "it is a file of another kind" if folder.exists() else "there is no such file or folder")
    return _indexed(path, options) or _bare(path, options)


def _indexed(path: str, options: Mapping[str, str] | None) -> Source | None:
    from leyden.data.tiers.remote import open_root

    root = open_root(path, options)
    found = [name for name in ("dataset.json", "index.json", _UNFINISHED) if _there(root, name)]
    if "dataset.json" in found:
        from leyden.data.sources.native import Shards

        return Shards(path, storage_options=options)
    if "index.json" in found:
        from leyden.data.sources.mds import MDS

        return MDS(path, storage_options=options)
    if _UNFINISHED in found:
        raise DataError(
            asked=f"{path} was opened as data",
            found="write_shards has not finished it",
            do="Run write_shards again with the same samples: it goes on where it was broken off.",
        )
    return None


def _there(root: Root, name: str) -> bool:
    try:
        root.stat(name)
    except FetchError:
        return False
    return True


def _bare(path: str, options: Mapping[str, str] | None) -> Source:
    """By the names of the files in it."""
    from leyden.data.tiers.remote import open_root

    names = open_root(path, options).names()
    kinds = {kind for kind in (TARS, TABLES) for name in names if name.endswith(kind)}
    if TARS in kinds:  # img2dataset writes a table about each tar beside it
        from leyden.data.sources.webdataset import WebDataset

        return WebDataset(path, storage_options=options)
    if TABLES in kinds:
        from leyden.data.sources.parquet import Parquet

        return Parquet(path, storage_options=options)
    endings = Counter(PurePosixPath(name).suffix.lower() or "(none)" for name in names)
    if sum(endings[one] for one in _PICTURES) > len(names) // 2:
        raise DataError(
            asked=f"{path} was opened as data",
            found=f"it is a folder of {len(names):,} files, most of them single pictures",
            do="Pack them once: leyden data convert FOLDER DESTINATION.",
        )
    counted = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    raise _unknown(path, f"there lie {counted}" if names else "there is nothing")


def _unknown(path: str, found: str) -> DataError:
    return DataError(asked=f"{path} was opened as data", found=found, do=f"Check the path; {_KNOWN}.")
