"""Where on this host are caches, what lies in them, and who uses it? For `leyden data cache`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from leyden.core.home import Home
from leyden.data.tiers.shelf import entries, read_lease
from leyden.data.tiers.who import pid_of, runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A shard in a cache, or one that comes."""

    cache: str  # folder
    root: str  # of the data set; "" if unknown
    name: str
    size_bytes: int
    unused_s: float  # since it was last used; 0 for one that comes
    used_by: list[int]  # processes that read it
    fetched_by: int | None  # the process that fetches it
    key: str


def remember(folder: Path) -> None:
    """A cache was opened there: `leyden data cache` finds it by a link in $LEYDEN_HOME/caches."""
    with suppress(OSError):  # only the listing needs it
        links = Home.from_environ().root / "caches"
        links.mkdir(parents=True, exist_ok=True, mode=0o700)
        (links / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]).symlink_to(folder)


def caches() -> list[Path]:
    """Folders of caches that were opened here and are still there."""
    found = {
        Path(entry.path).readlink() for entry in entries(Home.from_environ().root / "caches") if entry.is_symlink()
    }
    return sorted(folder for folder in found if folder.is_dir())


def kept(folders: Iterable[Path]) -> list[Kept]:
    """What lies there, by data set and name."""
    found: list[Kept] = []
    for folder in folders:
        users = _users(folder)
        whole = {entry.name: entry for entry in entries(folder / "whole")}
        leases = {entry.name: read_lease(Path(entry.path)) for entry in entries(folder / "leases")}
        for key, entry in whole.items():
            with suppress(FileNotFoundError):
                stat = entry.stat()
                about = _about(folder, key)
                found.append(
                    Kept(
                        cache=str(folder), root=about.get("root", ""), name=about.get("name", ""), key=key,
                        size_bytes=stat.st_size, unused_s=max(0.0, time.time() - stat.st_mtime),
                        used_by=users.get(key, []), fetched_by=None,
                    )
                )  # fmt: skip
        for key, lease in leases.items():
            if key not in whole and lease is not None and lease.lives:
                pid = int(pid_of(lease.who))
                found.append(
                    Kept(
                        cache=str(folder), root="", name="", key=key, size_bytes=lease.size_bytes, unused_s=0.0,
                        used_by=[pid], fetched_by=pid,
                    )
                )  # fmt: skip
    return sorted(found, key=lambda each: (each.cache, each.root, each.name, each.key))


def clear(shards: Iterable[Kept]) -> int:
    """Take finished shards away; bytes freed. Those who read one keep it until they are done with it."""
    freed = 0
    for shard in shards:
        if shard.fetched_by is None:
            for folder in ("whole", "about"):
                (Path(shard.cache) / folder / shard.key).unlink(missing_ok=True)
            freed += shard.size_bytes
    return freed


def _users(folder: Path) -> dict[str, list[int]]:
    users: dict[str, list[int]] = {}
    for entry in entries(folder / "pins"):
        if runs(entry.name) is not False:
            for pin in entries(Path(entry.path)):
                users.setdefault(pin.name.partition(".")[0], []).append(int(pid_of(entry.name)))
    return users


def _about(folder: Path, key: str) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads((folder / "about" / key).read_text())
        return found
    return {}
