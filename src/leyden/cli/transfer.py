"""How do several files come here, and what does one see meanwhile?"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from leyden.cli.screen import clean, columns, cut, note
from leyden.client.api import Client
from leyden.client.download import Wanted, fetch, is_there, refuse_existing
from leyden.core.units import format_duration, format_size


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A file that is here now."""

    name: str
    path: str
    size_bytes: int
    sha256: str


def fetch_all(connect: Callable[[], Client], wanted: Sequence[Wanted], *, force: bool) -> list[Fetched]:
    """Fetch them one after the other; nothing at all where one is in the way. Raises ConflictError, ServerError."""
    here = [one for one in wanted if is_there(one)]  # of an earlier try
    missing = [one for one in wanted if one not in here]
    if not force:
        for one in missing:
            refuse_existing(one.goal)
    bar = Bar(total=sum(one.size_bytes for one in missing))
    fetched = [_fetched(one, one.sha256) for one in here]
    began = time.monotonic()
    try:
        for one in missing:
            bar.begin(one.name)
            fetched.append(_fetched(one, fetch(connect, one, told=bar.add)))
    finally:
        bar.end()
    size = sum(one.size_bytes for one in fetched)
    said = f"{len(fetched):,} file{'s' * (len(fetched) != 1)}, {format_size(size)}"
    note(said + (f" in {format_duration(time.monotonic() - began)}" if missing else ", here already"))
    return fetched


def _fetched(one: Wanted, sha256: str) -> Fetched:
    return Fetched(name=one.name, path=str(one.goal), size_bytes=one.goal.stat().st_size, sha256=sha256)


@final
class Bar:
    """A line on the terminal that says how far it is; nothing where stderr is no terminal."""

    def __init__(self, *, total: int) -> None:
        self._total, self._done, self._name = total, 0, ""
        self._width = columns(sys.stderr)
        self._began = time.monotonic()
        self._drawn = 0.0  # when

    def begin(self, name: str) -> None:
        """The next file."""
        self._name = name

    def add(self, size_bytes: int) -> None:
        """So many bytes more."""
        self._done += size_bytes
        now = time.monotonic()
        if self._width is None or now - self._drawn < 0.1:
            return
        self._drawn = now
        share = min(1.0, self._done / self._total) if self._total else 1.0
        full = "█" * round(20 * share)
        speed = format_size(self._done / max(0.001, now - self._began))
        line = f"{full:░<20} {share:4.0%}  {format_size(self._done)}  {speed}/s  {clean(self._name)}"
        sys.stderr.write(f"\r\x1b[K{cut(line, self._width - 1)}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave an empty line to whoever writes next."""
        if self._width is not None:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
