"""Which files has an attempt left under artifacts/, and what is in them?

Each attempt has a manifest, attempts/a<n>/artifacts.json, of the files that are new or changed since the attempts
before it: path, size, time, mode and SHA-256. A file whose size, time and inode are as they were is not read again.

Only the standard library, and of that only what starts fast: the worker imports this file.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER, MANIFEST = "artifacts", "artifacts.json"
TRIES = 5  # to read a file that changes meanwhile
_BLOCK = 1 << 20


class OutsideError(OSError):
    """What is there is no file of the folder."""


class ChangingError(Exception):
    """The file changed while it was read, each time."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What is cheap to know of a file: while it stays the same, so does the content."""

    size_bytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """From what the file system says."""
        return cls(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One file as an attempt left it; `path` is relative to the folder, with slashes."""

    path: str
    size_bytes: int
    mtime_ns: int
    inode: int
    mode: int
    sha256: str

    @property
    def stamp(self) -> Stamp:
        """To see whether the file is still that one."""
        return Stamp(size_bytes=self.size_bytes, mtime_ns=self.mtime_ns, inode=self.inode)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What lies in the folder and is not kept."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What one attempt left."""

    attempt: int
    artifacts: tuple[Artifact, ...]
    refused: tuple[Refused, ...] = ()


def make(folder: Path, attempt: int, before: Iterable[Manifest] = (), *, deadline: float | None = None) -> Manifest:
    """Look at every file of the folder, read those that are new or changed since `before`.

    Raises TimeoutError where that takes beyond the deadline, a time of `time.monotonic`.
    """
    known = merged(before)
    taken: list[Artifact] = []
    refused: list[Refused] = []
    for one in walk(folder):
        if isinstance(one, Refused):
            refused.append(one)
            continue
        path, status = one
        if path in known and known[path][1].stamp == Stamp.of(status):
            continue
        try:
            taken.append(take(folder, path, deadline))
        except TimeoutError:
            raise
        except FileNotFoundError:  # it was there a moment ago
            continue
        except ChangingError:
            refused.append(Refused(path=path, why="it was still being written"))
        except OSError as error:
            refused.append(Refused(path=path, why=f"it cannot be read: {os.strerror(error.errno or 0).lower()}"))
    return Manifest(attempt=attempt, artifacts=tuple(taken), refused=tuple(refused))


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result] | Refused]:
    """Every file below the folder with its status, in order of their names, and what is no file that can be kept."""
    if folder.is_symlink():
        yield Refused(path=".", why="the folder itself is a link")
        return
    root = os.path.realpath(folder)
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(os.path.join(root, prefix)) as listed:  # noqa: PTH118
                entries = sorted(listed, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Refused(path=prefix.rstrip("/"), why=f"it cannot be opened: {os.strerror(error.errno or 0).lower()}")
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{prefix}{entry.name}/")
            elif (one := _look(root, prefix, entry)) is not None:
                yield one


def _look(root: str, prefix: str, entry: os.DirEntry[str]) -> tuple[str, os.stat_result] | Refused | None:
    path = prefix + entry.name
    try:
        path.encode()
    except UnicodeEncodeError:
        return Refused(path=ascii(path)[1:-1], why="its name is not UTF-8")
    try:
        status = inside(Path(root), path).stat()
    except FileNotFoundError:
        return Refused(path=path, why="a link to nothing") if entry.is_symlink() else None
    except OSError as error:
        return Refused(path=path, why=str(error.strerror or error).lower())
    return path, status


def inside(folder: Path, path: str) -> Path:
    """The regular file of that relative path, links resolved.

    Raises OutsideError for what lies outside of the folder or is no file, FileNotFoundError where there is nothing.
    """
    parts = path.split("/")
    if "\0" in path or not all(parts) or {".", ".."} & {*parts}:
        raise OutsideError(1, "not a path inside the folder")
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
    if not real.startswith(root + os.sep):
        raise OutsideError(1, "a link out of the folder")
    if not stat.S_ISREG(os.stat(real).st_mode):  # noqa: PTH116  a pipe must not be opened to find out
        raise OutsideError(1, "a link to a folder" if os.path.isdir(real) else "no file")  # noqa: PTH112
    return Path(real)


def take(folder: Path, path: str, deadline: float | None = None) -> Artifact:
    """Read the file, again while it changes. Raises OSError, ChangingError, TimeoutError."""
    for _ in range(TRIES):
        with inside(folder, path).open("rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            sha256 = digest(file.fileno(), before.st_size, deadline)
            after, there = os.fstat(file.fileno()), inside(folder, path).stat()
        if Stamp.of(before) == Stamp.of(after) == Stamp.of(there):
            return Artifact(path=path, mode=stat.S_IMODE(after.st_mode), sha256=sha256, **asdict(Stamp.of(after)))
    raise ChangingError(path)


def digest(descriptor: int, size_bytes: int, deadline: float | None = None) -> str:
    """SHA-256 of so many bytes from the beginning, block by block. Raises TimeoutError after the deadline."""
    import hashlib  # 4 ms; most attempts leave no artifacts

    summed, at = hashlib.sha256(), 0
    while at < size_bytes and (block := os.pread(descriptor, min(_BLOCK, size_bytes - at), at)):
        summed.update(block)
        at += len(block)
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError
    return summed.hexdigest()


def merged(manifests: Iterable[Manifest]) -> dict[str, tuple[int, Artifact]]:
    """By path the newest version of each file, and the attempt that left it."""
    return {one.path: (manifest.attempt, one) for manifest in manifests for one in manifest.artifacts}


def has_files(run_dir: Path) -> bool:
    """Whether anything at all lies in the run's artifacts/."""
    try:
        with os.scandir(run_dir / FOLDER) as listed:
            return next(listed, None) is not None
    except OSError:
        return False


def write(attempt_dir: Path, manifest: Manifest) -> None:
    """Put it on record, whole or not at all."""
    draft = attempt_dir / f".{MANIFEST}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(manifest)))
    draft.replace(attempt_dir / MANIFEST)


def read(attempt_dir: Path) -> Manifest | None:
    """What the attempt left; None where nobody has looked yet."""
    try:
        return parse((attempt_dir / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None


def parse(text: bytes) -> Manifest:
    """A manifest as it was written. Raises ValueError, KeyError, TypeError for what is none."""
    plain: Mapping[str, Any] = json.loads(text)
    return Manifest(
        attempt=plain["attempt"],
        artifacts=tuple(Artifact(**one) for one in plain["artifacts"]),
        refused=tuple(Refused(**one) for one in plain["refused"]),
    )


def read_all(run_dir: Path) -> list[Manifest]:
    """Of every attempt that has one, first to last."""
    found = (read(file.parent) for file in run_dir.glob(f"attempts/a*/{MANIFEST}"))
    return sorted((one for one in found if one), key=lambda one: one.attempt)
