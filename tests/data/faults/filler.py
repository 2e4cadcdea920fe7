"""A job that reads a data set through a cache: python -m tests.data.faults.filler URL CACHE [open|leave].

Prints "ok 72" or the error. With "open" it then stays, a ticket open, until its stdin ends; "leave": it never closes.
"""

from __future__ import annotations

import itertools
import sys

from leyden.data.errors import DataError
from leyden.data.tiers import make_tiers
from tests.data.tiers.numbered import Numbered, answers, ask, epoch


def main(root: str, cache: str, *how: str) -> None:
    """Read everything once."""
    source = Numbered(root)
    tiers = make_tiers([source], cache=cache.split(","), timeout_s=10)
    tiers.follow(itertools.cycle(range(6)))
    print("started", flush=True)
    try:
        print("ok", epoch(tiers, source), flush=True)
    except DataError as error:
        print(type(error).__name__, error, flush=True)
    if "open" in how:
        ask(tiers, 999, {0: [0]})
        answers(tiers, 1)
        print("open", flush=True)
        sys.stdin.read()
    if "leave" not in how:
        tiers.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
