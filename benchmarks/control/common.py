"""What do all parts of the benchmark share: a server of its own, times, and tables?"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden.client import embedded
from leyden.client.api import Client
from leyden.client.transport import Transport
from leyden.core.home import Home

ENVIRON = {key: value for key, value in os.environ.items() if not key.startswith(("LEYDEN_", "SLURM_"))}
# By this interpreter's name: `python` and `python3` are different ones to the server, each to be preloaded.
LEYDEN = (sys.executable, str(Path(sys.executable).with_name("leyden")))
DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much is to be measured."""

    pending: Sequence[int]  # sizes of the queue
    rounds: int
    say: Callable[[str], None]  # a line of the report

    @classmethod
    def of(cls, given: argparse.Namespace, say: Callable[[str], None]) -> Asked:
        """As the command line says."""
        return cls(pending=given.pending, rounds=given.rounds, say=say)

    def title(self, text: str) -> None:
        """Of a section."""
        self.say(f"\n## {text}\n")

    def head(self, *columns: str) -> None:
        """Of a table."""
        self.row(*columns)
        self.row(*("---" for _ in columns))

    def row(self, *cells: str) -> None:
        """Of a table."""
        self.say(f"| {' | '.join(cells)} |")


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A Leyden server that runs."""

    home: Home
    client: Client

    def batch(self, script: dict[str, Any], count: int, key: str) -> list[str]:
        """Submit so many alike in one request."""
        body = {"jobs": [script] * count, "cwd": "/", "environ": ENVIRON, "user": "ada", "key": f"batch-{key}"}
        found: list[str] = Transport(self.client.endpoint, timeout_s=300).json("POST", "/api/jobs/batch", body=body)
        return found


@contextmanager
def server(*options: str) -> Iterator[Ours]:
    """A server with eight GPUs that are none, in a home of its own; its jobs end with it."""
    with tempfile.TemporaryDirectory(prefix="leyden-bench-") as folder:
        home = Home(Path(folder)).create()
        try:
            client = Client(embedded.start(home, options=["--fake-gpus", "8", *options]))
            yield Ours(home=home, client=client)
        finally:
            embedded.stop(home)


def took(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def until(condition: Callable[[], object], *, pause_s: float = 0.005, deadline_s: float = DEADLINE_S) -> None:
    """Ask until it is so."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not so within {deadline_s:.0f} s: {condition}")
        time.sleep(pause_s)


def half(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def ninety(values: Sequence[float]) -> float:
    """The 90th percentile."""
    return statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


def ms(seconds: float) -> str:
    """Milliseconds, three digits."""
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:,.0f}"


def both(values: Sequence[float]) -> tuple[str, str]:
    """Two cells: p50 and p90 in ms."""
    return ms(half(values)), ms(ninety(values))


def rate(seconds: Sequence[float], count: int) -> str:
    """So many in each of these times: median a second, least and most."""
    found = sorted(count / one for one in seconds)
    return f"{half(found):,.0f} ({found[0]:,.0f}–{found[-1]:,.0f})"
