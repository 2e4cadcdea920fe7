"""Where do artifacts lie, by the hash of their content? In a local folder, or below a prefix of an object store.

    blobs/ab/abcd…           content, named by its SHA-256           manifests/<job>/a<n>.json   written last

A local blob of a job that has ended is another name of the file in the run's folder, made read-only: no copy, no bytes.
While a job can go on its files may be written to again, so those are copied. Nothing appears under a hash before its
bytes have that hash.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

from leyden.core.errors import UsageError
from leyden.server.settings import LOCAL
from leyden.track.artifacts import Artifact, Manifest, Stamp, inside, parse

LEFT_S: Final = 3600.0  # a draft that old is nobody's
PIECE: Final = 8 << 20  # bytes of one request or read
_SCHEMES: Final = ("s3", "s3a", "gs", "az")
_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")


class AwayError(Exception):
    """The store cannot be used just now; what was asked may work later."""


class ChangedError(Exception):
    """The file is no longer the one of the manifest."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A content of the store, and since when it has it."""

    sha256: str
    size_bytes: int
    at: float


class Blobs(ABC):
    """A store of contents by their hash."""

    url: str

    @abstractmethod
    def has(self, artifact: Artifact) -> bool:
        """Whether the content is there. Raises AwayError."""

    @abstractmethod
    def put(self, artifact: Artifact, folder: Path, *, settled: bool) -> None:
        """Keep the file; `settled`: nobody will write to it any more. Raises ChangedError, AwayError, OSError."""

    @abstractmethod
    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """These bytes of the content. Raises FileNotFoundError, AwayError."""

    @abstractmethod
    def contents(self) -> Iterator[Kept]:
        """All there are. Raises AwayError."""

    @abstractmethod
    def remove(self, sha256: str) -> None:
        """Keep the content no longer. Raises AwayError, OSError."""

    @abstractmethod
    def put_manifest(self, name: str, data: bytes) -> None:
        """Keep a manifest. Raises AwayError, OSError."""

    @abstractmethod
    def manifests(self) -> Iterator[str]:
        """The names of all there are. Raises AwayError."""

    @abstractmethod
    def get_manifest(self, name: str) -> Manifest:
        """One of them. Raises AwayError, OSError, ValueError."""

    @abstractmethod
    def remove_manifest(self, name: str) -> None:
        """Keep it no longer, if it is there. Raises AwayError, OSError."""


def open_blobs(url: str, local: Path) -> Blobs:
    """The store of that URL: "local" (below `local`), a folder, or s3://bucket/prefix, gs://…, az://…"""
    if url == LOCAL:
        return LocalBlobs(local, url)
    parts = urlsplit(url)
    if parts.scheme in _SCHEMES:
        return ObjectBlobs(url)
    if parts.scheme in {"", "file"} and Path(parts.path).is_absolute():
        return LocalBlobs(Path(parts.path), url)
    raise UsageError(
        asked=f"artifacts are to be kept at {url!r}",
        found="that is no store Leyden knows",
        do="Give s3://bucket/prefix, gs://…, az://…, an absolute folder, or `local` for the one in LEYDEN_HOME.",
    )


def blob_name(sha256: str) -> str:
    """
    >>> blob_name("abcd")
    'blobs/ab/abcd'
    """
    return f"blobs/{sha256[:2]}/{sha256}"


@final
class LocalBlobs(Blobs):
    """A folder."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url, self._folder = url, folder

    def has(self, artifact: Artifact) -> bool:
        with suppress(FileNotFoundError):
            return self._path(artifact.sha256).stat().st_size == artifact.size_bytes
        return False

    def put(self, artifact: Artifact, folder: Path, *, settled: bool) -> None:
        source, goal = inside(folder, artifact.path), self._path(artifact.sha256)
        goal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in goal.parent.glob(f".{goal.name}.*"):  # by a server that was killed; by another one, seldom
            if left.name.endswith(f".{os.getpid()}") or time.time() - left.stat().st_ctime > LEFT_S:
                left.unlink(missing_ok=True)
        draft = goal.with_name(f".{goal.name}.{os.getpid()}")
        try:
            if not (settled and _linked(artifact, source, draft)):
                _copy(artifact, source, draft)
            draft.chmod(stat.S_IMODE(draft.stat().st_mode) & ~0o222)
            draft.replace(goal)
        finally:
            draft.unlink(missing_ok=True)  # also where both are one file already: then `replace` does nothing

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        with self._path(sha256).open("rb", buffering=0) as file:
            yield from read_pieces(file.fileno(), start, stop)

    def contents(self) -> Iterator[Kept]:
        for file in self._folder.glob("blobs/*/[!.]*"):
            with suppress(FileNotFoundError):
                status = file.stat()  # its content may have been written long before it came here
                at = max(status.st_mtime, status.st_ctime)
                size = status.st_size if status.st_nlink == 1 else 0  # the run's folder has it too
                yield Kept(sha256=file.name, size_bytes=size, at=at)

    def remove(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def manifests(self) -> Iterator[str]:
        return (f"{file.parent.name}/{file.name}" for file in self._folder.glob("manifests/*/[!.]*.json"))

    def get_manifest(self, name: str) -> Manifest:
        return parse((self._folder / "manifests" / name).read_bytes())

    def remove_manifest(self, name: str) -> None:
        (self._folder / "manifests" / name).unlink(missing_ok=True)

    def put_manifest(self, name: str, data: bytes) -> None:
        goal = self._folder / "manifests" / name
        goal.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = goal.with_name(f".{goal.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(goal)

    def _path(self, sha256: str) -> Path:
        return self._folder / blob_name(sha256)


def read_pieces(descriptor: int, start: int, stop: int) -> Iterator[bytes]:
    """These bytes of an open file."""
    while start < stop and (piece := os.pread(descriptor, min(PIECE, stop - start), start)):
        yield piece
        start += len(piece)


def _linked(artifact: Artifact, source: Path, draft: Path) -> bool:
    """Whether the file, unchanged since it was hashed, could be given a second name."""
    with suppress(OSError):  # another file system, or somebody else's file
        os.link(source, draft)
        if Stamp.of(draft.stat()) == artifact.stamp:
            return True
        draft.unlink()
    return False


def _copy(artifact: Artifact, source: Path, draft: Path) -> None:
    with draft.open("xb") as file:
        draft.chmod(0o600)
        for piece in _checked(artifact, source):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())  # the file itself may change next, then this is the only copy


def _checked(artifact: Artifact, source: Path) -> Iterator[bytes]:
    """The file's bytes; before the last of them ChangedError, where all of them do not have the hash."""
    summed, held = hashlib.sha256(), b""
    with source.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            if held:
                yield held
            summed.update(piece)
            held = piece
    if summed.hexdigest() != artifact.sha256:
        raise ChangedError(artifact.path)
    yield held


@final
class ObjectBlobs(Blobs):
    """A prefix of an object store, through obstore."""

    def __init__(self, url: str, environ: Mapping[str, str] = os.environ) -> None:
        self.url = url
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise UsageError(
                asked=f"artifacts are to be kept at {url}",
                found="obstore is not installed",
                do='Install it: pip install "leyden[store]".',
            ) from None
        self._api: Any = obstore
        client: Any = {"timeout": timedelta(seconds=120), "connect_timeout": timedelta(seconds=5)}
        config = _settings(url, environ)
        if config.get("endpoint", "").startswith("http://"):
            client["allow_http"] = True
        retry: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}  # the patience is keeping.py's
        try:
            self._store: Any = from_url(url, client_options=client, retry_config=retry, config=config)  # type: ignore[call-overload]
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise UsageError(
                asked=f"artifacts are to be kept at {url}",
                found=_first_line(error),
                do="Write s3://bucket/prefix; credentials come from the environment (AWS_ACCESS_KEY_ID, "
                "AWS_ENDPOINT_URL, …).",
            ) from None

    def has(self, artifact: Artifact) -> bool:
        with self._away(), suppress(FileNotFoundError):
            size: int = self._api.head(self._store, blob_name(artifact.sha256))["size"]
            return size == artifact.size_bytes
        return False

    def put(self, artifact: Artifact, folder: Path, *, settled: bool) -> None:
        source, name = inside(folder, artifact.path), blob_name(artifact.sha256)
        changed: list[ChangedError] = []

        def pieces() -> Iterator[bytes]:
            try:
                yield from _checked(artifact, source)
            except ChangedError as error:
                changed.append(error)
                raise

        try:
            if artifact.size_bytes <= PIECE:  # one request
                self._api.put(self._store, name, b"".join(pieces()), use_multipart=False)
            else:
                self._api.put(self._store, name, pieces(), use_multipart=True, chunk_size=PIECE, max_concurrency=4)
        except Exception as error:  # also what `pieces` raised, in obstore's clothes
            if changed:
                raise changed[0] from None
            if isinstance(error, self._api.exceptions.BaseError):
                raise AwayError(_first_line(error)) from error
            raise

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            end = min(stop, start + PIECE)
            with self._away():
                piece = bytes(self._api.get_range(self._store, blob_name(sha256), start=start, end=end))
            if len(piece) != end - start:
                raise AwayError(f"{len(piece)} bytes came where {end - start} were asked for")
            yield piece
            start = end

    def contents(self) -> Iterator[Kept]:
        for one in self._listed("blobs/"):
            name = one["path"].rpartition("/")[2]
            yield Kept(sha256=name, size_bytes=one["size"], at=one["last_modified"].timestamp())

    def remove(self, sha256: str) -> None:
        self._delete(blob_name(sha256))

    def manifests(self) -> Iterator[str]:
        return ("/".join(one["path"].split("/")[-2:]) for one in self._listed("manifests/"))

    def get_manifest(self, name: str) -> Manifest:
        with self._away():
            data = self._api.get(self._store, f"manifests/{name}").bytes()
        return parse(bytes(data))

    def remove_manifest(self, name: str) -> None:
        self._delete(f"manifests/{name}")

    def put_manifest(self, name: str, data: bytes) -> None:
        with self._away():
            self._api.put(self._store, f"manifests/{name}", data)

    def _listed(self, prefix: str) -> Iterator[Any]:
        with self._away():
            for some in self._api.list(self._store, prefix=prefix):
                yield from some

    def _delete(self, name: str) -> None:
        with self._away(), suppress(FileNotFoundError):
            self._api.delete(self._store, name)

    @contextmanager
    def _away(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except self._api.exceptions.BaseError as error:
            raise AwayError(_first_line(error)) from error


def _settings(url: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What obstore does not see by itself: a server of one's own has no regions, and often no signatures."""
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if not endpoint or not url.startswith("s3"):
        return {}
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    signed = any(name in environ for name in _CREDENTIALS)
    return {"endpoint": endpoint, "region": region, **({} if signed else {"skip_signature": True})}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
