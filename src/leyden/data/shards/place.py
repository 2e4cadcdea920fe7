"""Where is a data set written to? A folder or an object store; either way a file appears whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, final
from urllib.parse import unquote, urlsplit

import obstore

from leyden.core.units import format_size
from leyden.data.errors import DataError, FetchError
from leyden.data.tiers import net

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
TIMEOUT_S: Final = 60.0  # of a request, and for how long one is tried again
SLOWEST_BYTES_PER_S: Final = 500_000  # an upload may take as much longer
_FINAL: Final = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of some network file systems
TEMPORARY: Final = ".leyden-tmp-"  # what the names of unfinished files begin with


class Place(ABC):
    """Files by name. `scratch` is where a file is written before it is published."""

    url: str
    scratch: Path

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content; None if there is no such file."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """In bytes; None if there is no such file."""

    @abstractmethod
    def publish(self, file: Path, name: str) -> None:
        """Make the finished scratch file appear under its name, in place of what was there."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """A small file, whole."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """If it is there."""

    @abstractmethod
    def whole(self, name: str) -> Path | None:
        """The file on this machine, to be read and checked; None where that would cost a download."""

    def close(self) -> None:
        """Leave nothing behind but published files."""
        return


def open_place(dest: str | Path | ObjectStore) -> Place:
    """A folder (path or file://…), s3://…, gs://…, az://…, http…, or an obstore store. Folders are made."""
    if not isinstance(dest, str | Path):
        return Bucket(dest, str(dest))
    if "://" not in str(dest):
        return Folder(Path(dest))
    parts = urlsplit(str(dest))
    if parts.scheme == "file":
        return Folder(Path(unquote(parts.path)))
    from leyden.data.tiers.store import open_store

    return Bucket(open_store(str(dest), TIMEOUT_S), str(dest))


@final
class Folder(Place):
    """A folder of this machine, held by one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = self.scratch = path.absolute()
        self.url = str(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _hold(path / f"{TEMPORARY}lock")
        except BlockingIOError:
            raise DataError(
                asked=f"a data set was to be written to {path}",
                found="another process is writing there",
                do="Wait for it, or write to another folder.",
            ) from None
        except OSError as error:
            raise unwritable(self.url, path, error) from error
        self._sweep()

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.exists() else None

    def size(self, name: str) -> int | None:
        path = self.path / name
        return path.stat().st_size if path.exists() else None

    def publish(self, file: Path, name: str) -> None:
        try:
            file.replace(self.path / name)
        except OSError as error:
            raise unwritable(name, self.path, error) from error

    def write(self, name: str, content: bytes) -> None:
        """Safely there after this, with all that was published before."""
        self.publish(write_file(self.scratch, name, [content]), name)
        folder = os.open((self.path / name).parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def whole(self, name: str) -> Path | None:
        return self.path / name

    def close(self) -> None:
        if self._lock >= 0:
            self._sweep()
            (self.path / f"{TEMPORARY}lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def _sweep(self) -> None:
        """Remove what a writer that was killed has left."""
        for left in self.path.glob(f"{TEMPORARY}*"):
            if left.name != f"{TEMPORARY}lock":
                left.unlink(missing_ok=True)


@final
class Bucket(Place):
    """An object store. An object appears when its upload is complete; the rest of a broken one is never seen."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        self.url, self._store = url, store
        self.scratch = Path(tempfile.mkdtemp(prefix="leyden-shards-"))

    def read(self, name: str) -> bytes | None:
        async def got() -> bytes:
            return bytes(await (await obstore.get_async(self._store, name)).bytes_async())

        try:
            return self._ask("read", name, got)
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        try:
            return self._ask("looked for", name, lambda: obstore.head_async(self._store, name))["size"]
        except FileNotFoundError:
            return None

    def publish(self, file: Path, name: str) -> None:
        size_bytes = file.stat().st_size
        self._ask("written", name, lambda: obstore.put_async(self._store, name, file), size_bytes)
        file.unlink()

    def write(self, name: str, content: bytes) -> None:
        self._ask("written", name, lambda: obstore.put_async(self._store, name, content), len(content))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._ask("deleted", name, lambda: obstore.delete_async(self._store, name))

    def whole(self, name: str) -> Path | None:
        return None

    def close(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _ask(self, done: str, name: str, request: Callable[[], Awaitable[T]], size_bytes: int = 0) -> T:
        """A request, again until TIMEOUT_S have passed. FileNotFoundError where there is no such object."""
        limit_s, wait_s = TIMEOUT_S + size_bytes / SLOWEST_BYTES_PER_S, 0.25
        give_up = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return net.wait_for(_within(limit_s, request))  # obstore's own time-outs do not end a silent request
            except FileNotFoundError:
                raise
            except (obstore.exceptions.BaseError, OSError) as error:
                if isinstance(error, _FINAL) or time.monotonic() + wait_s > give_up:
                    raise self._failed(done, name, error) from error
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, 8.0)

    def _failed(self, done: str, name: str, error: Exception) -> FetchError:
        return FetchError(
            asked=f"{name} was to be {done} at {self.url}",
            found=str(error).strip().partition("\n")[0][:300] or "the store did not answer in time",
            do="See that the address is right and the credentials allow it, and run it again: it goes on.",
        )


async def _within(limit_s: float, request: Callable[[], Awaitable[T]]) -> T:
    return await asyncio.wait_for(request(), limit_s)


def _hold(path: Path) -> int:
    """A lock that ends with this process, however it ends. BlockingIOError if another one has it."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return lock
            os.close(lock)
            raise
        os.close(lock)  # the former holder has just removed it: what was locked is no longer the file of that name


def write_file(folder: Path, name: str, chunks: list[bytes]) -> Path:
    """A new scratch file with this content, safely on disk. A full disk: DataError, and nothing is left."""
    path = folder / f"{TEMPORARY}{os.getpid()}-{name.replace('/', '-')}"
    try:
        with path.open("xb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(name, folder, error) from error
        raise
    return path


def unwritable(name: str, folder: Path, error: OSError) -> DataError:
    """The error for a file that cannot be written."""
    found = (error.strerror or str(error)).lower()
    do = "See that the folder exists and can be written to."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        found = f"the disk of {folder} is full ({format_size(shutil.disk_usage(folder).free)} left)"
        do = "Make room and run it again: finished shards stay and are not written anew."
    return DataError(asked=f"{name} was to be written to {folder}", found=found, do=do)
