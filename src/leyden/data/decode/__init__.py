"""How much of a picture, of a mask or of an array has to be decoded?"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "Picture": "leyden.data.decode.picture",
    "Rows": "leyden.data.decode.rows",
    "Window": "leyden.data.decode.windows",
    "backend": "leyden.data.decode.fused",
    "center_window": "leyden.data.decode.windows",
    "pack_rows": "leyden.data.decode.rows",
    "random_resized_window": "leyden.data.decode.windows",
    "random_window": "leyden.data.decode.windows",
    "tiled": "leyden.data.decode.tiling",
    "warm": "leyden.data.decode.fused",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.data.decode.fused import backend as backend
    from leyden.data.decode.fused import warm as warm
    from leyden.data.decode.picture import Picture as Picture
    from leyden.data.decode.rows import Rows as Rows
    from leyden.data.decode.rows import pack_rows as pack_rows
    from leyden.data.decode.tiling import tiled as tiled
    from leyden.data.decode.windows import Window as Window
    from leyden.data.decode.windows import center_window as center_window
    from leyden.data.decode.windows import random_resized_window as random_resized_window
    from leyden.data.decode.windows import random_window as random_window


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.data.decode' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value
