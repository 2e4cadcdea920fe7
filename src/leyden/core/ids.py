"""What is a job or a run called?

Ten characters of Crockford's base 32 (no i, l, o, u): forty bits of milliseconds since 2026 and ten random bits, so ids
sort by time, are unique without asking anybody, and any unique ending of a few characters names the job on the
command line: the ending changes most, so three or four characters are enough among thousands.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable

from leyden.core.errors import NotFoundError

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 10
SHORT = 4
_EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
_lock = threading.Lock()
_last = 0


def new_id(now_ms: int | None = None) -> str:
    """A fresh id, later than every id this process made before."""
    global _last  # noqa: PLW0603  one counter a process is the point
    moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    with _lock:
        _last = max(_last + 1, ((moment - _EPOCH_MS) << 10) | int.from_bytes(os.urandom(2)) >> 6)
        return encode(_last)


def encode(number: int) -> str:
    """The number in base 32, ten characters, zero-filled.

    >>> encode(33)
    '0000000011'
    """
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(5 * (LENGTH - 1), -1, -5))


def short_id(job_id: str, length: int = SHORT) -> str:
    """The end of an id, enough to name it on the command line.

    >>> short_id("00000abcde")
    'bcde'
    """
    return job_id[-length:]


def is_id(text: str) -> bool:
    """Whether the text is a whole id.

    >>> is_id("0000000011"), is_id("digits")
    (True, False)
    """
    return len(text) == LENGTH and all(char in ALPHABET for char in text)


def resolve(reference: str, known: Iterable[str], *, what: str = "job") -> str:
    """The one known id that is, ends with or begins with `reference`.

    >>> resolve("q7", ["00000000q7", "00000000q8"])
    '00000000q7'
    """
    wanted = reference.lower()
    ids = list(known)
    if wanted in ids:
        return wanted
    matches = [one for one in ids if one.endswith(wanted)] or [one for one in ids if one.startswith(wanted)]
    if len(matches) == 1:
        return matches[0]
    raise NotFoundError(
        asked=f"{what} {reference!r} was asked for",
        found=f"{len(matches)} {what}s match: {', '.join(matches[:5])}" if matches else f"no {what} matches",
        do=f"Give more characters of the id; `leyden ps -a` lists every {what}.",
    )
