"""How do bytes get from where they are stored to where a worker reads them, once per host and never half?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leyden.data.sources.base import Source
from leyden.data.tiers.base import Local, Tiers
from leyden.data.tiers.here import Here

__all__ = ["Local", "Tiers", "make_tiers"]


def make_tiers(
    sources: Sequence[Source],
    *,
    cache: str | Sequence[str] | None = None,
    timeout_s: float = 60.0,
    storage_options: Mapping[str, str] | None = None,
) -> Tiers:
    """What brings these sources' shards to this host."""
    return Here(sources)
