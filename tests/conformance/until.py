"""How do tests wait? For a condition, with a deadline; never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | Literal[False] | None], *, within_s: float = 60.0) -> T:
    """The first true value of the condition; AssertionError at the deadline, which is for machines that hardly move."""
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s; last value {value!r}"
        time.sleep(0.01)
