"""How does a person see training move? A live bar on a terminal, plain lines elsewhere; rank 0 only."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leyden.core.units import format_duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.1


class Progress(ABC):
    """Shows one stage at a time: `begin`, `update` …, `end`. `every_s` says how often `update` is worth a call."""

    every_s: float

    @abstractmethod
    def begin(self, stage: str, total: int | None, done: int = 0) -> None:
        """A stage starts, e.g. "epoch 3/10"; `total` batches, None if nobody knows."""

    @abstractmethod
    def update(self, done: int, metrics: Mapping[str, float]) -> None:
        """So many batches of the stage are done."""

    @abstractmethod
    def aside(self, text: str) -> None:
        """What goes on within the stage, e.g. "validation 20/40"; its batches stand still meanwhile."""

    @abstractmethod
    def end(self, done: int, metrics: Mapping[str, float]) -> None:
        """The stage is over after so many batches."""

    @abstractmethod
    def say(self, text: str) -> None:
        """A line of its own."""

    def close(self) -> None:
        """Leave the terminal as it was."""
        return


class Silent(Progress):
    """For ranks above 0 and `enable_progress_bar=False`; `say` prints where `talks`."""

    every_s = 1.0

    def __init__(self, *, talks: bool) -> None:
        self._talks = talks

    def begin(self, stage: str, total: int | None, done: int = 0) -> None: ...

    def update(self, done: int, metrics: Mapping[str, float]) -> None: ...

    def aside(self, text: str) -> None: ...

    def end(self, done: int, metrics: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None:
        if self._talks:
            print(text, flush=True)


class Plain(Progress):
    """A line every few seconds and at the end of each stage; for logs."""

    every_s = 1.0

    def __init__(self, *, every_s: float = PLAIN_EVERY_S) -> None:
        self._line_every_s = every_s
        self._stage = ""
        self._total: int | None = None
        self._done = self._first = 0
        self._start = self._last = 0.0

    def begin(self, stage: str, total: int | None, done: int = 0) -> None:
        self._stage, self._total = stage, total
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def update(self, done: int, metrics: Mapping[str, float]) -> None:
        self._done = done
        if time.monotonic() - self._last >= self._line_every_s:
            self._last = time.monotonic()
            self._print(metrics, "")

    def aside(self, text: str) -> None:
        if time.monotonic() - self._last >= self._line_every_s:
            self._last = time.monotonic()
            print(f"{self._stage}  {text}", flush=True)

    def end(self, done: int, metrics: Mapping[str, float]) -> None:
        self._done = done
        self._print(metrics, f"  in {format_duration(time.monotonic() - self._start)}")

    def say(self, text: str) -> None:
        print(text, flush=True)

    def _print(self, metrics: Mapping[str, float], after: str) -> None:
        of = "" if self._total is None else f"/{self._total}"
        rate = (self._done - self._first) / max(1e-9, time.monotonic() - self._start)
        print(f"{self._stage}  {self._done}{of}  {rate:>5.3g} it/s  {words(metrics)}{after}".rstrip(), flush=True)


class Live(Progress):
    """One bar that moves in place; finished epochs stay above it as lines."""

    every_s = LIVE_EVERY_S

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._stage, self._start, self._first = "", 0.0, 0

    def begin(self, stage: str, total: int | None, done: int = 0) -> None:
        self._stage, self._start, self._first = stage, time.monotonic(), done
        bar = self._bar or self._open()
        if self._task is not None:
            bar.remove_task(self._task)
        self._task = bar.add_task(stage, total=total, completed=done, metrics="", rate="")

    def update(self, done: int, metrics: Mapping[str, float]) -> None:
        if self._bar is not None and self._task is not None:
            rate = (done - self._first) / max(1e-9, time.monotonic() - self._start)
            self._bar.update(self._task, completed=done, metrics=words(metrics), rate=f"{rate:.3g} it/s")

    def aside(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, metrics=text)

    def end(self, done: int, metrics: Mapping[str, float]) -> None:
        took = time.monotonic() - self._start
        rate = (done - self._first) / max(1e-9, took)
        self.say(f"{self._stage}  {done} batches  {rate:.3g} it/s  {words(metrics)}  in {format_duration(took)}")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, visible=False)

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _open(self) -> RichProgress:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[metrics]}"),
        ]
        self._bar = RichProgress(*columns, transient=True)
        self._bar.start()
        return self._bar


def choose(*, enabled: bool, first: bool) -> Progress:
    """The bar that fits where output goes."""
    if not enabled or not first:
        return Silent(talks=first)
    return Live() if sys.stdout.isatty() else Plain()


def words(metrics: Mapping[str, float]) -> str:
    """Names and values, in columns that stand under each other.

    >>> words({"val_acc": 0.9734, "loss": 0.1})
    'val_acc 0.9734     loss 0.1      '
    """
    return "  ".join(f"{name} {value:<9.4g}" for name, value in metrics.items())
