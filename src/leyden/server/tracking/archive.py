"""Where do the points of runs that have ended lie, when the server keeps what jobs leave in a store elsewhere?

There too: a sealed metrics.parquet is sent by its hash, like an artifact, and named by a manifest of its own
(manifests/<run>/metrics.json), which keeps it from being cleaned away. Then `metrics.kept` in the run's folder says
where it is, and the file beside it is only a copy: those read longest ago go when all of them are more than 10 GB, and
come again when somebody looks.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

from leyden.core.errors import ServerError
from leyden.server.files.blobs import AwayError, Blobs
from leyden.server.settings import LOCAL
from leyden.track import artifacts, facts
from leyden.track.artifacts import Manifest
from leyden.track.sealed import KEPT, SEALED

MOST_BYTES: Final = 10 << 30  # of copies here


@final
@dataclass(frozen=True, kw_only=True)
class Mark:
    """What metrics.kept says."""

    store: str
    sha256: str
    size_bytes: int


@final
class Archive:
    """The points of the runs below a folder, in one store. `busy` is held while some are sent: cleaning must wait."""

    def __init__(self, runs: Path, blobs: Blobs, busy: threading.Lock, *, most_bytes: int = MOST_BYTES) -> None:
        self._runs, self._blobs, self._busy, self._most_bytes = runs, blobs, busy, most_bytes
        self._lock = threading.Lock()
        self._here_bytes: int | None = None  # about so large all copies are; None: not counted yet

    def unkept(self) -> set[str]:
        """Runs with a sealed file that this store is yet to be sent; none where all stays here."""
        if self._blobs.url == LOCAL:
            return set()
        return {file.parent.name for file in self._runs.glob(f"*/{SEALED}") if not self._is_kept(file.parent)}

    def keep(self, run_id: str) -> None:
        """Send the file of that run. Raises AwayError, ChangedError, OSError; then it is to be tried again."""
        folder = self._runs / run_id
        if self._blobs.url == LOCAL or self._is_kept(folder):
            return
        with self._busy:
            one = artifacts.take(folder, SEALED)
            if not self._blobs.has(one):
                self._blobs.put(one, folder, settled=True)
            manifest = Manifest(attempt=0, artifacts=(one,))
            self._blobs.put_manifest(manifest_of(run_id), json.dumps(asdict(manifest)).encode())
            mark = Mark(store=self._blobs.url, sha256=one.sha256, size_bytes=one.size_bytes)
            facts.write(folder / KEPT, json.dumps(asdict(mark)))
        self._trim(mark.size_bytes, folder / SEALED)

    def bring(self, folder: Path) -> None:
        """Have the file in the run's folder again, whole. Raises ServerError."""
        mark = read_mark(folder)
        if mark is None or mark.store != self._blobs.url:
            raise _cannot(folder, f"they were sent to {mark.store if mark else 'an unknown store'}", "Use that store.")
        draft = folder / f".{SEALED}.{threading.get_native_id()}"
        summed = hashlib.sha256()
        try:
            with draft.open("wb") as file:
                for piece in self._blobs.read(mark.sha256, 0, mark.size_bytes):
                    summed.update(piece)
                    file.write(piece)
            if summed.hexdigest() != mark.sha256:
                raise _cannot(folder, f"{mark.store} has other bytes than were sent", "Take them from a backup.")
            draft.replace(folder / SEALED)
            self._trim(mark.size_bytes, folder / SEALED)
        except AwayError as error:
            raise _cannot(folder, f"the store {mark.store} does not answer: {error}", "Ask again later.") from None
        except FileNotFoundError:
            raise _cannot(folder, f"{mark.store} has them no more", "Take them from a backup.") from None
        except OSError as error:
            raise _cannot(folder, f"there is no room to bring them: {error.strerror}", "Make room.") from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _trim(self, more_bytes: int, newest: Path) -> None:
        """Remove the copies that were read longest ago, where they are too many; the newest one stays."""
        with self._lock:
            if self._here_bytes is not None and self._here_bytes + more_bytes <= self._most_bytes:
                self._here_bytes += more_bytes
                return
            copies = sorted(self._copies())
            left = sum(size for _, size, _ in copies)
            for _, size, file in copies:
                if left > self._most_bytes and file != newest:
                    file.unlink(missing_ok=True)
                    left -= size
            self._here_bytes = left

    def forget(self, run_id: str) -> None:
        """The run goes; the next cleaning takes its content. Raises ServerError."""
        if not (self._runs / run_id / KEPT).exists():
            return
        try:
            self._blobs.remove_manifest(manifest_of(run_id))
        except (AwayError, OSError) as error:
            asked, found = f"run {run_id} is to go", f"the store of its points does not answer: {error}"
            raise ServerError(asked=asked, found=found, do="Ask again later.") from None

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        """When each was read last, how large it is, where it lies."""
        for mark in self._runs.glob(f"*/{KEPT}"):
            file = mark.with_name(SEALED)
            if self._is_kept(mark.parent):
                with suppress(OSError):
                    status = file.stat()
                    yield status.st_atime, status.st_size, file

    def _is_kept(self, folder: Path) -> bool:
        mark = read_mark(folder)
        return mark is not None and mark.store == self._blobs.url


def manifest_of(run_id: str) -> str:
    """Its name in the store."""
    return f"{run_id}/metrics.json"


def read_mark(folder: Path) -> Mark | None:
    """Where the run's points were sent; None where they were not."""
    try:
        return Mark(**json.loads((folder / KEPT).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _cannot(folder: Path, found: str, do: str) -> ServerError:
    return ServerError(asked=f"the points of run {folder.name}", found=found, do=do)
