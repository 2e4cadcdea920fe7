"""Where do pictures, tables, histograms and texts of a run lie, and which file is what?

media/<name>/<step>-<k>.png|json|txt, and a line each in media/a<attempt>-r<rank>.jsonl, after the file is whole:

    {"kind": "image", "name": "val/pred", "step": 3, "at": 1.2e9, "file": "media/val/pred/3-0.png", "caption": ""}

`k` counts the files of that name and step, whichever rank or attempt wrote them. Parts of a name that no file may have
are written as in URLs (`%2E%2E`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import quote

from leyden.track.names import check_name

FOLDER: Final = "media"
_LONGEST_PART: Final = 120
_KEPT: Final = " !#$&'()+,;=@[]^`{}~"  # besides letters, digits and -_.


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A line of the index: `file` is relative to the run's folder, `at` in seconds since 1970."""

    kind: str
    name: str
    step: int
    at: float
    file: str
    caption: str = ""


@final
class Media:
    """What one rank adds. `write` is for the clerk's thread."""

    def __init__(self, run_dir: Path, *, attempt: int, rank: int) -> None:
        self._run_dir = run_dir
        self._index = run_dir / FOLDER / f"a{attempt}-r{rank}.jsonl"
        self._last = (Path(), 0, 0)  # folder, step and number of the newest file: a thousand pictures, a thousand tries

    def write(self, about: Medium, suffix: str, encode: Callable[[], bytes]) -> None:
        """The file, then its line. Raises OSError, and leaves nothing then."""
        path = self._claim(about, suffix)
        try:
            path.write_bytes(encode())
            line = asdict(about) | {"file": path.relative_to(self._run_dir).as_posix()}
            append(self._index, json.dumps(line, ensure_ascii=True).encode() + b"\n")
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _claim(self, about: Medium, suffix: str) -> Path:
        """An empty file of a name that nobody has."""
        folder = self._run_dir / FOLDER / folder_of(about.name)
        folder.mkdir(parents=True, exist_ok=True)
        number = self._last[2] + 1 if self._last[:2] == (folder, about.step) else 0
        while True:
            path = folder / f"{about.step}-{number}{suffix}"
            self._last = (folder, about.step, number)
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
                return path
            except FileExistsError:
                number += 1


def folder_of(name: str) -> str:
    """Where media of that name lie, relative to media/. Raises RecordError for what is no name.

    >>> folder_of("val/pred"), folder_of("../etc//x:y")
    ('val/pred', '%2E%2E/etc/%/x%3Ay')
    """
    check_name(name, "media")
    return "/".join(map(_part, name.split("/")))


def _part(part: str) -> str:
    found = quote(part, safe=_KEPT) or "%"
    if found.startswith(".") or found.endswith(".jsonl"):  # an index
        found = found.replace(".", "%2E")
    if len(found) > _LONGEST_PART:
        found = f"{found[: _LONGEST_PART - 20]}%{hashlib.sha256(part.encode()).hexdigest()[:16]}"
    return found


def append(path: Path, data: bytes) -> None:
    """Add a line, whole or not at all. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        try:
            if os.write(file, data) < len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def read(run_dir: Path) -> Iterator[Medium]:
    """Every medium of the run, a rank and attempt after the other; torn or foreign lines are passed over."""
    for index in sorted((run_dir / FOLDER).glob("a*-r*.jsonl")):
        with index.open("rb") as lines:
            yield from (found for line in lines if (found := parse(line)) is not None)


def parse(line: bytes) -> Medium | None:
    """What the line says; None where it is none."""
    try:
        plain: dict[str, Any] = json.loads(line)
        if not math.isfinite(plain["at"]):  # which no browser could read
            return None
        return Medium(
            kind=str(plain["kind"]),
            name=str(plain["name"]),
            step=int(plain["step"]),
            at=float(plain["at"]),
            file=str(plain["file"]),
            caption=str(plain.get("caption", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
