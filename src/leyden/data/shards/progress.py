"""How does a person see a long write or check move? A bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, final

from leyden.core.units import format_duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_EVERY_S = 10.0
WIDEST = 42  # characters of what it says is being done


@final
class Bar:
    """Counts samples. Used as a context manager; `add` from any thread."""

    def __init__(self, what: str, total: int | None, *, show: bool | None = None) -> None:
        """`show`: None shows a bar on a terminal and lines elsewhere, False nothing."""
        self._what, self._total, self._show = what, total, show is not False
        self._done, self._lock = 0, threading.Lock()
        self._live: tuple[Progress, TaskID] | None = None
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Bar:
        if self._show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            live = Progress(*columns, console=Console(stderr=True))
            live.start()
            self._live = live, live.add_task(_shorten(self._what), total=self._total)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._live:
            self._live[0].stop()
        elif self._show and kind is None:
            self._print(f" in {format_duration(time.monotonic() - self._start)}")

    def add(self, samples: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += samples
            if self._live:
                self._live[0].advance(self._live[1], samples)
            elif self._show and time.monotonic() - self._last >= PLAIN_EVERY_S:
                self._last = time.monotonic()
                self._print("")

    def _print(self, after: str) -> None:
        of = "" if self._total is None else f"/{self._total}"
        print(f"{self._what}: {self._done}{of} samples{after}", file=sys.stderr, flush=True)


def _shorten(text: str) -> str:
    """The bar keeps its place beside a long path, of which the end tells more than the beginning.

    >>> _shorten("writing s3://bucket/team/project/experiments/2026/november/cells-256")
    'writing …periments/2026/november/cells-256'
    """
    verb, _, path = text.partition(" ")
    return text if len(text) <= WIDEST else f"{verb} …{path[len(verb) + 2 - WIDEST :]}"
