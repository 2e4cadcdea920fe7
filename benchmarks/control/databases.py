"""Which databases can jobs be kept in here? SQLite, and PostgreSQL where it is installed, each as it comes."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.conformance.postgres import postgres_cluster

POSTGRES, SQLITE = "PostgreSQL", "SQLite"


@contextmanager
def databases() -> Iterator[dict[str, Callable[[], str]]]:
    """By name, who makes a new one; PostgreSQL with the settings it comes with, fsync on, through a socket."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-bench-")))
        numbers = count()
        found: dict[str, Callable[[], str]] = {SQLITE: lambda: str(folder / f"{next(numbers)}.db")}
        try:
            found[POSTGRES] = stack.enter_context(postgres_cluster(settings=())).database
        except pytest.skip.Exception as why:
            print(f"without PostgreSQL: {why}", file=sys.stderr)
        yield found
