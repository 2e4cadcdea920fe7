"""How does the record of a run in a folder here come to a server? File by file, in pieces, from where the server's end.

Again and again is as good as once: a piece that is there already is compared, and what has grown is sent from there on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from leyden.client.transport import Endpoint, Transport

PIECE_BYTES: Final = 8 << 20
OVERLAP_BYTES: Final = 1 << 16  # sent again, so that a file that became another one is noticed
_FACTS: Final = ("run.json", "config.json", "summary.json", "tags.json")
_LAST: Final = "finished.json"  # what comes after it is late
_GROW: Final = ("metrics/*.frames", "logs/a*-r*.log", "logs/a*-r*.times")
_MEDIA: Final = {".png", ".gif", ".jpg", ".webp", ".json", ".txt"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What one push brought over."""

    files: int = 0
    size_bytes: int = 0


class Pusher:
    """Pushes to one server. Raises UnreachableError, ConflictError where other bytes stand there, or what it says."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport = Transport(endpoint, timeout_s=120)

    def push(self, folder: Path, run_id: str) -> Sent:
        """Bring all that is in the folder."""
        files = sent = 0
        for name in _names(folder):
            size = self._whole(folder, run_id, name) if "/" not in name else self._growing(folder, run_id, name)
            files, sent = files + (size > 0), sent + size
        return Sent(files=files, size_bytes=sent)

    def forget(self, run_id: str) -> None:
        """Have the server remove the run. Raises NotFoundError, ConflictError."""
        self._transport.json("DELETE", f"/api/runs/{run_id}")

    def _whole(self, folder: Path, run_id: str, name: str) -> int:
        data = (folder / name).read_bytes()
        self._put(run_id, name, 0, data)
        return len(data)

    def _growing(self, folder: Path, run_id: str, name: str) -> int:
        there = self._put(run_id, name, 0, b"")
        sent = 0
        with (folder / name).open("rb") as file:
            at = file.seek(max(0, there - OVERLAP_BYTES))
            while piece := file.read(PIECE_BYTES):
                self._put(run_id, name, at, piece)
                sent += max(0, at + len(piece) - max(at, there))
                at += len(piece)
        return sent

    def _put(self, run_id: str, name: str, offset: int, data: bytes) -> int:
        path = f"/api/runs/{run_id}/files/{quote(name)}"
        with self._transport.open(
            "PUT", path, query={"offset": offset}, body=data, content_type="application/octet-stream"
        ) as response:
            return int(json.load(response)["size_bytes"])


def _names(folder: Path) -> Iterator[str]:
    """Media before the index that names them, the end at the end."""
    yield from (name for name in _FACTS if (folder / name).is_file())
    for pattern in _GROW:
        yield from sorted(one.relative_to(folder).as_posix() for one in folder.glob(pattern))
    media = sorted(one for one in (folder / "media").rglob("*") if one.is_file() and one.suffix in _MEDIA)
    yield from (one.relative_to(folder).as_posix() for one in media)
    yield from sorted(one.relative_to(folder).as_posix() for one in (folder / "media").glob("a*-r*.jsonl"))
    if (folder / _LAST).is_file():
        yield _LAST
