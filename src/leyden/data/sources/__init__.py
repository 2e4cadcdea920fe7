"""Where do samples come from? One file per format; all speak `base.Source`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "MDS": "leyden.data.sources.mds",
    "MapStyle": "leyden.data.sources.mapstyle",
    "Parquet": "leyden.data.sources.parquet",
    "Reader": "leyden.data.sources.base",
    "Sample": "leyden.data.sources.sample",
    "Shard": "leyden.data.sources.base",
    "Shards": "leyden.data.sources.native",
    "Source": "leyden.data.sources.base",
    "WebDataset": "leyden.data.sources.webdataset",
    "open_source": "leyden.data.sources.detect",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.data.sources.base import Reader as Reader
    from leyden.data.sources.base import Shard as Shard
    from leyden.data.sources.base import Source as Source
    from leyden.data.sources.detect import open_source as open_source
    from leyden.data.sources.mapstyle import MapStyle as MapStyle
    from leyden.data.sources.mds import MDS as MDS
    from leyden.data.sources.native import Shards as Shards
    from leyden.data.sources.parquet import Parquet as Parquet
    from leyden.data.sources.sample import Sample as Sample
    from leyden.data.sources.webdataset import WebDataset as WebDataset


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.data.sources' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
