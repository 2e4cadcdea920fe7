"""What lies in a home that nobody needs any more, and how does each piece of it go?

Every piece is looked at again, under a lock, in the moment it goes: a job that starts just then keeps what it uses.
A folder goes by a rename first, so that a crash leaves it whole or hidden, and what is hidden goes the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from leyden.core.home import Home
from leyden.server.launching import HOLD, environs

DAY_S: Final = 86_400.0
GRACE_S: Final = DAY_S  # what was brought for a job waits so long for it
LEFT_S: Final = 3600.0  # a draft that old is nobody's
_GONE: Final = ".gone-"


class Kind(StrEnum):
    """Of what there may be too much."""

    ENVIRONMENT = "environment"
    REPOSITORY = "repository"
    TREE = "tree"
    VARIABLES = "variables"
    CONTENT = "content"
    LEFTOVER = "leftover"


@dataclass(frozen=True, kw_only=True)
class Waste:
    """One piece. `take` removes it, and says no where somebody has come to need it. `size_bytes` become free."""

    kind: Kind
    name: str
    size_bytes: int
    used_at: float
    why: str
    take: Callable[[], bool]


def environments(home: Home, in_use: Collection[str], *, before: float) -> Iterator[Waste]:
    """Built environments that no job has used since. The workers in them hold a lock (worker/environment.py)."""
    for folder in _folders(home.envs, "[!.]*"):
        lock = home.envs / f".{folder.name}.lock"
        if folder.name in in_use:
            lock.touch()  # the next one in it may be long in coming
            continue
        yield from _locked_waste(Kind.ENVIRONMENT, folder, lock, before, why="no job has used it lately")


def repositories(home: Home, *, before: float) -> Iterator[Waste]:
    """Mirrors that nobody has submitted from since; who does so holds a lock (client/checkout.py)."""
    for folder in _folders(home.git, "[!.]*.git"):
        lock = folder.with_suffix(".lock")
        yield from _locked_waste(Kind.REPOSITORY, folder, lock, before, why="no job came from it lately")


def trees(home: Home, needed: Collection[str], *, now: float) -> Iterator[Waste]:
    """Captured trees of no job, uploaded more than a day ago."""
    for file in _files(home.code, "[!.]*.tar.gz"):
        if file.name.removesuffix(".tar.gz") not in needed:
            yield from _old_file(Kind.TREE, file, now - GRACE_S, why="no job came of it")


def variables(home: Home, needed: Collection[str], *, now: float) -> Iterator[Waste]:
    """Submitters' environments of no job."""
    for file in _files(environs(home), "[!.]*.json"):
        if file.stem not in needed:
            yield from _old_file(Kind.VARIABLES, file, now - GRACE_S, why="no job came of it")


def leftovers(home: Home, *, now: float) -> Iterator[Waste]:
    """What somebody who was killed left half done."""
    half = "its maker was stopped halfway"
    for place in (home.envs, home.git):
        for folder in _folders(place, f"{_GONE}*"):
            yield _folder_waste(Kind.LEFTOVER, folder, 0.0, why="it was being removed", take=partial(_remove, folder))
    for draft in _folders(home.envs, ".*.draft"):
        lock = draft.with_suffix(".lock")
        yield from _locked_waste(Kind.LEFTOVER, draft, lock, now - LEFT_S, why=half)
    hidden = [*_folders(home.git, ".checkout-*"), *_folders(home.runs, "*/checkpoints/.*.removed-*")]
    for folder in hidden:
        if _mtime(folder) < now - GRACE_S:
            yield _folder_waste(Kind.LEFTOVER, folder, _mtime(folder), why=half, take=partial(_remove, folder))
    drafts = (
        (home.code, ".upload-*"),
        (environs(home), ".*"),
        (home.root, ".*.json.*"),
        (home.root, "store/blobs/*/.*"),
    )
    for place, pattern in drafts:
        for file in _files(place, pattern):
            yield from _old_file(Kind.LEFTOVER, file, now - LEFT_S, why=half)


def size_of(path: Path) -> int:
    """The bytes that become free with it: what a cache or the store has another name for does not."""
    return sum(status.st_blocks * 512 for status in _below(path) if status.st_nlink == 1)


def disk_use(path: Path, *, deadline: float = math.inf) -> int | None:
    """The bytes that all of it takes, a file of several names once; None where that takes beyond the deadline."""
    total = 0.0
    for status in _below(path):
        total += status.st_blocks * 512 / status.st_nlink
        if time.monotonic() > deadline:
            return None
    return int(total)


def _below(path: Path) -> Iterator[os.stat_result]:
    """Of every file."""
    waiting = [str(path)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listed:
                for entry in listed:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
        except OSError:  # it goes while it is looked at
            continue


def _locked_waste(kind: Kind, folder: Path, lock: Path, before: float, *, why: str) -> Iterator[Waste]:
    with _locked(lock) as free:
        if not free:
            lock.touch()  # used now
    if free and (used_at := _mtime(lock)) < before:
        take = partial(_take_locked, folder, lock, before)
        yield _folder_waste(kind, folder, used_at, why=why, take=take)


def _take_locked(folder: Path, lock: Path, before: float) -> bool:
    hidden = folder.with_name(f"{_GONE}{folder.name.lstrip('.')}-{time.time_ns()}")
    with _locked(lock) as free:
        if not free or _mtime(lock) >= before:
            return False
        try:
            folder.rename(hidden)
        except FileNotFoundError:
            return False
    return _remove(hidden)


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[bool]:
    """Whether nobody else has it; then nobody gets it until the context ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder_waste(kind: Kind, folder: Path, used_at: float, *, why: str, take: Callable[[], bool]) -> Waste:
    return Waste(kind=kind, name=folder.name, size_bytes=size_of(folder), used_at=used_at, why=why, take=take)


def _old_file(kind: Kind, file: Path, before: float, *, why: str) -> Iterator[Waste]:
    with contextlib.suppress(FileNotFoundError):
        status = file.stat()
        if status.st_mtime < before:
            size, take = status.st_blocks * 512, partial(_take_file, file, before)
            yield Waste(kind=kind, name=file.name, size_bytes=size, used_at=status.st_mtime, why=why, take=take)


def _take_file(file: Path, before: float) -> bool:
    with HOLD, contextlib.suppress(FileNotFoundError):
        if file.stat().st_mtime < before:
            file.unlink()
            return True
    return False


def _remove(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _folders(place: Path, pattern: str) -> list[Path]:
    return sorted(path for path in place.glob(pattern) if path.is_dir() and not path.is_symlink())


def _files(place: Path, pattern: str) -> list[Path]:
    return sorted(path for path in place.glob(pattern) if path.is_file())
