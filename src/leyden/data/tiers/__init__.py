"""How do bytes get from where they are stored to where a worker reads them, once per host and never half?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leyden.data.sources.base import Source
from leyden.data.tiers.base import Local, Tiers
from leyden.data.tiers.here import Here, any_packed, local_folder

__all__ = ["Local", "Tiers", "make_tiers"]


def make_tiers(
    sources: Sequence[Source],
    *,
    cache: str | Sequence[str] | None = None,
    timeout_s: float = 60.0,
    storage_options: Mapping[str, str] | None = None,
) -> Tiers:
    """What brings these sources' shards to this host.

    `cache`: tiers, the fastest first, as ["ram:8GB", "/nvme:200GB"]; [] or "none": none. Left out, remote roots get a
    RAM tier of 8 GB or a quarter of the free memory, if less, and folders are read where they are. `timeout_s`: for
    each request for an object, all tries together; a tenth of it is kept for telling. Raises SpecError for a cache that
    cannot be understood.
    """
    remote = any(source.root and local_folder(source.root) is None for source in sources)
    if not (remote or cache or any(map(any_packed, sources))):
        return Here(sources)
    from leyden.data.tiers.spec import default_cache, parse_cache  # not for those who read folders
    from leyden.data.tiers.stack import Stack

    places = default_cache() if cache is None else parse_cache(cache)
    return Stack(
        sources, places, timeout_s=timeout_s, storage_options=storage_options, cache_local=bool(cache and places)
    )
