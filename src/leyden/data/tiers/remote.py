"""What lies below a root of any URL? Small files read, written and listed, with fetch.py's policy, from any thread."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import final

from leyden.data.tiers.here import check_name, local_folder, read_small, unreadable


class Root(ABC):
    """A folder or URL. Names are relative to it, with slashes. All methods wait; all raise FetchError with the name."""

    url: str

    @abstractmethod
    def get(self, name: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes start:stop of a file, fewer where it ends."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""

    @abstractmethod
    def stat(self, name: str) -> tuple[int, str]:
        """Its bytes, and a version that changes when it is written anew."""

    @abstractmethod
    def stats(self, prefix: str = "") -> dict[str, tuple[int, str]]:
        """What `stat` says of all files whose names begin with the folder `prefix`, at one go."""

    def size(self, name: str) -> int:
        """Its bytes."""
        return self.stat(name)[0]

    def names(self, prefix: str = "") -> list[str]:
        """All files below the folder `prefix`, sorted."""
        return sorted(self.stats(prefix))


def open_root(url: str, storage_options: Mapping[str, str] | None = None, *, timeout_s: float = 60.0) -> Root:
    """The folder or object store that a root names."""
    folder = local_folder(url)
    if folder is not None:
        return Folder(folder)
    from leyden.data.tiers.bucket import Bucket  # obstore, for those who need it

    return Bucket.open(url, storage_options, timeout_s)


@final
class Folder(Root):
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.url, self._folder = str(folder), folder

    def get(self, name: str) -> bytes:
        """Read at once."""
        return read_small(self._path(name))

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Read at once."""
        return read_small(self._path(name), start, stop)

    def put(self, name: str, data: bytes) -> None:
        """By a rename."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{path.name}.{os.getpid()}")
        half.write_bytes(data)
        half.replace(path)

    def stat(self, name: str) -> tuple[int, str]:
        """Version: when it was changed, in ns."""
        path = self._path(name)
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(str(path), error) from error
        return found.st_size, str(found.st_mtime_ns)

    def stats(self, prefix: str = "") -> dict[str, tuple[int, str]]:
        """Hidden files are left out."""
        below = self._folder / prefix if prefix else self._folder
        files = (path for path in below.rglob("*") if path.is_file() and not path.name.startswith("."))
        names = [path.relative_to(self._folder).as_posix() for path in files]
        return {name: self.stat(name) for name in names}

    def _path(self, name: str) -> Path:
        return self._folder / check_name(self.url, name)
