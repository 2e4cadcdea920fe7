"""How are samples stored? A tar per shard with an index beside it, and one dataset.json for all."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "Dataset": "leyden.data.shards.dataset",
    "Field": "leyden.data.shards.schema",
    "Index": "leyden.data.shards.index",
    "write_shards": "leyden.data.shards.write",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.data.shards.dataset import Dataset as Dataset
    from leyden.data.shards.index import Index as Index
    from leyden.data.shards.schema import Field as Field
    from leyden.data.shards.write import write_shards as write_shards


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.data.shards' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
