"""What does `cache=["ram:8GB", "/nvme:200GB"]` mean? Folders with quotas, the fastest first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from leyden.core.errors import SpecError
from leyden.core.units import parse_size

SHM: Final = Path("/dev/shm")
DEFAULT_BYTES: Final = 8_000_000_000
KEEP_FREE: Final = 0.05  # of a file system, where no quota is given


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One tier: a folder that all processes of this user on this host share."""

    folder: Path
    ram: bool
    quota_bytes: int | None = None  # None: all but 5 % of the file system
    stays: bool = True  # when nobody uses it any more

    def __str__(self) -> str:
        return "ram" if self.ram else str(self.folder.parent)


def parse_cache(cache: str | Sequence[str]) -> list[Place]:
    """Tiers as written: "ram:8GB", "/nvme:200GB", "/nvme" (leaves 5 % of the disk free). [] or "none": no cache.

    >>> [(str(place), place.quota_bytes) for place in parse_cache(["ram:8GB", "/nvme:200GB", "/big"])]
    [('ram', 8000000000), ('/nvme', 200000000000), ('/big', None)]
    """
    texts = [cache] if isinstance(cache, str) else list(cache)
    if texts == ["none"]:
        return []
    places = [_place(text) for text in texts]
    folders = [place.folder for place in places]
    if len({*folders}) < len(folders):
        raise _error(cache, "the same place is named twice")
    return places


def default_cache() -> list[Place]:
    """Without `cache=`: RAM, 8 GB or a quarter of what is free, if less; a temporary folder where /dev/shm is small.

    Memory that nobody asked for is given back when the last process that uses it closes its loader.
    """
    quota = min(DEFAULT_BYTES, psutil.virtual_memory().available // 4)
    if SHM.is_dir() and _free_bytes(SHM) >= min(quota, 1_000_000_000):
        return [Place(folder=_own(SHM), ram=True, quota_bytes=quota, stays=False)]
    return [Place(folder=_own(Path(tempfile.gettempdir())), ram=False, quota_bytes=DEFAULT_BYTES)]


def _place(text: str) -> Place:
    where, colon, quota = str(text).partition(":")
    try:
        quota_bytes = parse_size(quota) if colon else None
    except SpecError:
        raise _error(text, f"{quota!r} is not a size") from None
    if quota_bytes == 0:
        raise _error(text, "a quota of 0 holds nothing")
    if where == "ram":
        return Place(folder=_own(SHM), ram=True, quota_bytes=quota_bytes if colon else _half_of_ram())
    if not where.startswith(("/", "~", ".")):
        raise _error(text, f"{where!r} is neither 'ram' nor a folder's path")
    return Place(folder=_own(Path(where).expanduser().absolute()), ram=False, quota_bytes=quota_bytes)


def _own(base: Path) -> Path:
    """A folder of this user's own: what others can write there is not to be trusted."""
    return base / f"leyden-cache-{os.getuid()}"


def _half_of_ram() -> int:
    return int(psutil.virtual_memory().available // 2)


def _free_bytes(path: Path) -> int:
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def _error(asked: object, found: str) -> SpecError:
    return SpecError(
        asked=f"cache={asked!r}", found=found, do='Write it like ["ram:8GB", "/nvme:200GB"], the fastest first.'
    )
