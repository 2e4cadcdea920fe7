"""What lies in one tier's folder, and what has to leave it? One copy of a shard for all processes of the host.

whole/<key>          finished shards: they appear under this name by a link, checked, and are never changed
about/<key>          JSON: where the shard came from
parts/<key>.<who>.<n>  a shard while it comes; each process writes its own
pins/<who>/<key>.<n>  a link to a whole shard: what a process reads stays there when others evict it
leases/<key>         JSON: who fetches it; its mtime is the heartbeat
needs/<who>          JSON: how soon a process wants which shards; its mtime is the heartbeat

Nothing here is ever locked, and any process may die at any point: what it leaves has its name (who.py), and swept.
Two processes that fetch the same shard by a mishap cost time, never a byte. RAM tiers lie in /dev/shm and are the same.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from leyden.core.errors import ConfigurationError
from leyden.data.tiers.spec import KEEP_FREE, Place
from leyden.data.tiers.who import runs, sign

SILENT_S: Final = 15.0  # a holder that cannot be seen, or does not beat for so long, holds nothing
FULL_S: Final = 20.0  # a tier that was full is left alone for so long
NEVER: Final = 1 << 40
FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
FOLDERS: Final = ("whole", "about", "parts", "pins", "leases", "needs")
_NUMBER: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Held:
    """A finished shard."""

    key: str
    size_bytes: int
    used_s: float  # when it was last used (epoch time)


@dataclass(frozen=True, slots=True)
class Lease:
    """Somebody fetches a shard."""

    key: str
    who: str
    size_bytes: int
    beat_s: float

    @property
    def lives(self) -> bool:
        """Whether its holder is at work."""
        return runs(self.who) is not False and time.time() - self.beat_s < SILENT_S


@final
class Shelf:
    """One tier as one loader sees it."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder, self.who = place, place.folder, sign()
        self._leases: set[str] = set()
        self._keys: set[str] = set()
        self._listed_s = 0.0
        self._full_s = 0.0
        try:
            make_folder(self.folder)
            for name in FOLDERS:
                (self.folder / name).mkdir(exist_ok=True)
            (self.folder / "pins" / self.who).mkdir()
        except OSError as error:
            raise ConfigurationError(
                asked=f"cache in {self.folder}",
                found=(error.strerror or str(error)).lower(),
                do="Name a folder that can be written, or another size.",
            ) from error
        self.sweep()

    # --- what is there

    def has(self, key: str) -> bool:
        """Whether the shard was there within the last second."""
        if time.monotonic() - self._listed_s > 1:
            self._keys = {entry.name for entry in entries(self.folder / "whole")}
            self._listed_s = time.monotonic()
        return key in self._keys

    def pin(self, key: str) -> str | None:
        """A path that stays until `unpin`, whoever evicts the shard; None if it is not there."""
        whole, pin = self.folder / "whole" / key, self.folder / "pins" / self.who / f"{key}.{next(_NUMBER)}"
        try:
            os.link(whole, pin)
            os.utime(pin)
        except FileNotFoundError:
            self._keys.discard(key)
            return None
        except OSError:  # a file system without hard links: others can see what is needed soon, and leave it
            return str(whole) if whole.exists() else None
        return str(pin)

    def unpin(self, path: str) -> None:
        """What `pin` gave."""
        if Path(path).parent.name == self.who:
            Path(path).unlink(missing_ok=True)

    # --- what comes

    def part(self, key: str) -> Path:
        """A new name to write to."""
        return self.folder / "parts" / f"{key}.{self.who}.{next(_NUMBER)}"

    def commit(self, key: str, part: Path, about: Mapping[str, object]) -> None:
        """The part is whole and checked: it gets its name."""
        _write(self.folder / "about" / key, json.dumps(about), self.who)
        if not self.place.ram:  # a host that loses power must not find a file of zeros under the name
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, self.folder / "whole" / key)
        self._keys.add(key)

    def lease(self, key: str, size_bytes: int) -> bool:
        """Say that we fetch it; False if another process does. Takes over from the dead and the silent."""
        path, own = self.folder / "leases" / key, self.folder / "parts" / f"{key}.{self.who}.lease"
        own.write_text(json.dumps({"who": self.who, "size": size_bytes}))
        try:
            for _ in range(3):
                try:
                    os.link(own, path)
                except FileExistsError:
                    held = self.leased(key)
                    if held is not None and held.lives:
                        return False
                    with suppress(FileNotFoundError):
                        path.unlink()
                else:
                    self._leases.add(key)
                    return True
            return False
        finally:
            own.unlink()

    def leased(self, key: str) -> Lease | None:
        """Who fetches it, alive or not."""
        return read_lease(self.folder / "leases" / key)

    def release(self, key: str) -> None:
        """Fetched, or given up."""
        self._leases.discard(key)
        held = self.leased(key)
        if held is not None and held.who == self.who:
            (self.folder / "leases" / key).unlink(missing_ok=True)

    def beat(self, needs: Mapping[str, int]) -> None:
        """Still alive, and this is what we need."""
        for key in self._leases:
            with suppress(OSError):
                os.utime(self.folder / "leases" / key)
        with suppress(OSError):  # on a full disk others go by what they use themselves
            _write(self.folder / "needs" / self.who, json.dumps(needs), self.who)

    # --- what leaves

    @property
    def full(self) -> bool:
        """Whether it said so a short while ago."""
        return time.monotonic() < self._full_s

    def mark_full(self) -> None:
        """A write failed for lack of room."""
        self._full_s = time.monotonic() + FULL_S

    def room(self, key: str, size_bytes: int, distance: int, needs: Mapping[str, int]) -> list[str] | None:
        """What must go so that a shard fits that is needed so soon; None if it cannot. What is needed last goes first.

        `needs`: our own, by key. Those of other live processes count as much (Belady's rule over all of them).
        """
        held = {file.key: file for file in self.held()}
        lacking = size_bytes - self._left(sum(file.size_bytes for file in held.values()), key)
        if lacking <= 0:
            return []
        uses = self._uses(needs)
        victims = []
        for file in sorted(held.values(), key=lambda file: (-uses.get(file.key, NEVER), file.used_s)):
            if uses.get(file.key, NEVER) <= distance:
                return None
            victims.append(file.key)
            lacking -= file.size_bytes
            if lacking <= 0:
                return victims
        return None

    def free_bytes(self) -> int:
        """What the file system still takes."""
        found = os.statvfs(self.folder)
        keep = KEEP_FREE * found.f_blocks if self.place.quota_bytes is None else 0
        return int((found.f_bavail - keep) * found.f_frsize)

    def evict(self, key: str) -> None:
        """Readers that have it keep it."""
        self._keys.discard(key)
        for folder in ("whole", "about"):
            (self.folder / folder / key).unlink(missing_ok=True)

    def held(self) -> Iterator[Held]:
        """Finished shards."""
        for entry in entries(self.folder / "whole"):
            with suppress(FileNotFoundError):
                found = entry.stat()
                yield Held(entry.name, found.st_size, found.st_mtime)

    def _left(self, held_bytes: int, key: str) -> int:
        """Bytes that may be there of this shard, by quota and disk, when all others that are fetched have come."""
        here = own = 0
        for entry in entries(self.folder / "parts"):
            with suppress(FileNotFoundError):
                blocks = entry.stat().st_blocks * 512
                if entry.name.startswith(f"{key}.{self.who}."):
                    own += blocks
                else:
                    here += blocks
        leases = [read_lease(Path(entry.path)) for entry in entries(self.folder / "leases")]
        coming = max(0, sum(lease.size_bytes for lease in leases if lease and lease.lives and lease.key != key) - here)
        free = self.free_bytes() + own - coming
        quota = self.place.quota_bytes
        return free if quota is None else min(free, quota - held_bytes - here - coming)

    def _uses(self, needs: Mapping[str, int]) -> dict[str, int]:
        uses = dict(needs)
        for entry in entries(self.folder / "needs"):
            if entry.name != self.who and _lives(entry):
                with suppress(OSError, ValueError):
                    for key, distance in json.loads(Path(entry.path).read_text()).items():
                        uses[key] = min(distance, uses.get(key, NEVER))
        return uses

    def sweep(self) -> None:
        """Take away what dead processes left."""
        for entry in entries(self.folder / "parts"):
            who = entry.name.rpartition(".")[0].rpartition(".")[2]
            if who and not _lives(entry, who, silent_s=3600):
                Path(entry.path).unlink(missing_ok=True)
        for name in ("pins", "needs"):
            for entry in entries(self.folder / name):
                if not _lives(entry, silent_s=3600):
                    remove(Path(entry.path))
        for entry in entries(self.folder / "leases"):
            lease = read_lease(Path(entry.path))
            if lease is not None and not lease.lives:
                Path(entry.path).unlink(missing_ok=True)
        for entry in entries(self.folder / "about"):
            with suppress(FileNotFoundError):
                if not (self.folder / "whole" / entry.name).exists() and time.time() - entry.stat().st_mtime > 3600:
                    Path(entry.path).unlink()

    def close(self) -> None:
        """Leave nothing but whole shards."""
        for key in list(self._leases):
            self.release(key)
        for path in (self.folder / "pins" / self.who, self.folder / "needs" / self.who):
            remove(path)
        for entry in entries(self.folder / "parts"):
            if f".{self.who}." in entry.name:
                Path(entry.path).unlink(missing_ok=True)
        if not self.place.stays and not any(_lives(entry) for entry in entries(self.folder / "pins")):
            for held in list(self.held()):
                self.evict(held.key)


def make_folder(folder: Path) -> None:
    """A folder of this user alone. Raises PermissionError if somebody else has put one there."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "it belongs to another user")


def read_lease(path: Path) -> Lease | None:
    """A lease file; None if it is gone or not one."""
    try:
        found = json.loads(path.read_text())
        return Lease(path.name, found["who"], found["size"], path.stat().st_mtime)
    except (OSError, ValueError, KeyError):
        return None


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if it is not there."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def remove(path: Path) -> None:
    """A file, or a folder with files."""
    with suppress(OSError):
        if path.is_dir():
            for entry in entries(path):
                Path(entry.path).unlink(missing_ok=True)
            path.rmdir()
        else:
            path.unlink()


def _lives(entry: os.DirEntry[str], who: str | None = None, silent_s: float = SILENT_S) -> bool:
    life = runs(who or entry.name)
    if life is None:
        with suppress(OSError):
            return time.time() - entry.stat().st_mtime < silent_s
    return bool(life)


def _write(path: Path, text: str, who: str) -> None:
    half = path.parent.parent / "parts" / f"{path.name}.{who}.text"
    half.write_text(text)
    half.replace(path)
