"""How do bytes of a run come from elsewhere: another node, `leyden sync`, a program that has no disk in common?

A file is sent in pieces, each with the offset it belongs to; what is there already is compared, not written again, so
a sender that heard no answer sends again. A gap is refused with how long the file is. Nothing of a piece that could not
be written whole stays.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from leyden.core.errors import ConflictError, LeydenError, SpecError

_GROWS: Final = re.compile(r"metrics/a\d{1,9}-(r\d{1,9}|w)\.frames$|logs/a\d{1,9}-r\d{1,9}\.(log|times)$"
                           r"|media/a\d{1,9}-r\d{1,9}\.jsonl$")  # fmt: skip
_WHOLE: Final = re.compile(r"(run|config|summary|tags|finished)\.json$")
_MEDIUM: Final = re.compile(r"media/[^\0]+\.(png|gif|jpg|webp|json|txt)$")
_LONGEST: Final = 1024
MOST_BYTES: Final = 64 << 20  # in one piece
MOST_FACTS_BYTES: Final = 16 << 20


class FullError(LeydenError):
    """The server's disk is full."""


class GapError(ConflictError):
    """The piece does not begin where the file ends, which is `size_bytes`."""

    size_bytes = 0


@final
class Pushed:
    """Where pieces of one run's files go."""

    def __init__(self, folder: Path, sealed: Mapping[str, int]) -> None:
        self._folder = folder
        self._sealed = sealed  # how long files were that are one file now

    def put(self, name: str, offset: int, data: bytes) -> int:
        """Add a piece; how long the file is then. Raises SpecError, GapError, ConflictError, FullError."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _WHOLE.match(name):
                if offset:
                    raise _gap(name, offset, 0)
                return _replace(path, data)
            return self._append(path, name, offset, data)
        except FileExistsError:
            raise SpecError(
                asked=f"file {name}", found="a file stands where its folder should", do="Rename it."
            ) from None
        except OSError as error:
            raise FullError(
                asked=f"{len(data):,} bytes of {name} are to be kept",
                found=f"the server cannot write them: {error.strerror}",
                do="Keep them and send them again later; nothing of this piece was kept.",
            ) from error

    def size(self, name: str) -> int:
        """How long the file is."""
        path = self._path(name)
        return self._sealed.get(path.name, 0) + (path.stat().st_size if path.is_file() else 0)

    def _path(self, name: str) -> Path:
        path = self._folder / name
        sound = len(name) <= _LONGEST and ".." not in Path(name).parts and "//" not in name and "\\" not in name
        if not sound or not any(one.match(name) for one in (_GROWS, _WHOLE, _MEDIUM)):
            raise SpecError(
                asked=f"file {name[:200]!r} of a run",
                found="a run has no such file",
                do="Send metrics/*.frames, logs/*.log, media/… or run.json, config.json, summary.json, tags.json, "
                "finished.json.",
            )
        if path.parent.exists() and not path.parent.resolve().is_relative_to(self._folder.resolve()):
            raise SpecError(asked=f"file {name!r} of a run", found="it lies outside the run", do="Remove the link.")
        return path

    def _append(self, path: Path, name: str, offset: int, data: bytes) -> int:
        base = self._sealed.get(path.name, 0) if name.startswith("metrics/") else 0
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            there = os.fstat(descriptor).st_size
            if offset > base + there:
                raise _gap(name, offset, base + there)
            start = max(offset - base, 0)
            piece = data[max(base - offset, 0) :]
            known = os.pread(descriptor, min(len(piece), there - start), start)
            if known != piece[: len(known)]:
                raise ConflictError(
                    asked=f"bytes {offset:,} to {offset + len(data):,} of {name} were sent",
                    found="others stand there already",
                    do="Send it under another run or attempt.",
                )
            fresh = piece[len(known) :]
            try:
                written = os.pwrite(descriptor, fresh, there) if fresh else 0
                if written < len(fresh):
                    raise OSError(28, "No space left on device")
            except OSError:
                os.ftruncate(descriptor, there)
                raise
            return base + there + len(fresh)
        finally:
            os.close(descriptor)


def _replace(path: Path, data: bytes) -> int:
    if len(data) > MOST_FACTS_BYTES:
        found = f"it has {len(data):,} bytes, {MOST_FACTS_BYTES:,} are the most"
        raise SpecError(asked=f"file {path.name}", found=found, do="Leave out what is no setting.")
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return len(data)


def _gap(name: str, offset: int, size: int) -> GapError:
    error = GapError(
        asked=f"a piece of {name} from byte {offset:,} on",
        found=f"the file has {size} bytes here",
        do=f"Send it from byte {size} on.",
    )
    error.size_bytes = size
    return error
