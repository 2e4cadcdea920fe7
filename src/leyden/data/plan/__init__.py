"""In what order do samples come, and how are they dealt to ranks? Names are loaded on first use: workers need few."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "Bucketed": "leyden.data.plan.bucket",
    "Mix": "leyden.data.plan.mix",
    "Packed": "leyden.data.plan.pack",
    "Sequential": "leyden.data.plan.order",
    "Shuffled": "leyden.data.plan.order",
}

__all__ = [*_HOMES]  # noqa: PLE0604  strings all of them

if TYPE_CHECKING:
    from leyden.data.plan.bucket import Bucketed as Bucketed
    from leyden.data.plan.mix import Mix as Mix
    from leyden.data.plan.order import Sequential as Sequential
    from leyden.data.plan.order import Shuffled as Shuffled
    from leyden.data.plan.pack import Packed as Packed


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'leyden.data.plan' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
