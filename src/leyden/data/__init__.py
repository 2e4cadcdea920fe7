"""How does data come to the device without keeping it waiting? Shards, cache tiers, a plan, warm workers.

Names are loaded on first use: worker processes import parts of this package and must stay free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "Bucketed": "leyden.data.plan",
    "Loader": "leyden.data.loader",
    "MDS": "leyden.data.sources",
    "MapStyle": "leyden.data.sources",
    "Mix": "leyden.data.plan",
    "Packed": "leyden.data.plan",
    "Parquet": "leyden.data.sources",
    "Picture": "leyden.data.decode",
    "Rows": "leyden.data.decode",
    "Sample": "leyden.data.sources",
    "Sequential": "leyden.data.plan",
    "Shards": "leyden.data.sources",
    "Shuffled": "leyden.data.plan",
    "WebDataset": "leyden.data.sources",
    "Window": "leyden.data.decode",
    "pack_rows": "leyden.data.decode",
    "random_resized_window": "leyden.data.decode",
    "random_window": "leyden.data.decode",
    "tiled": "leyden.data.decode",
    "write_shards": "leyden.data.shards",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.data.decode import Picture as Picture
    from leyden.data.decode import Rows as Rows
    from leyden.data.decode import Window as Window
    from leyden.data.decode import pack_rows as pack_rows
    from leyden.data.decode import random_resized_window as random_resized_window
    from leyden.data.decode import random_window as random_window
    from leyden.data.decode import tiled as tiled
    from leyden.data.loader import Loader as Loader
    from leyden.data.plan import Bucketed as Bucketed
    from leyden.data.plan import Mix as Mix
    from leyden.data.plan import Packed as Packed
    from leyden.data.plan import Sequential as Sequential
    from leyden.data.plan import Shuffled as Shuffled
    from leyden.data.shards import write_shards as write_shards
    from leyden.data.sources import MDS as MDS
    from leyden.data.sources import MapStyle as MapStyle
    from leyden.data.sources import Parquet as Parquet
    from leyden.data.sources import Sample as Sample
    from leyden.data.sources import Shards as Shards
    from leyden.data.sources import WebDataset as WebDataset


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
