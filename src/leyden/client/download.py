"""How does a file come from the server to this disk, whole or not at all?

Into a draft beside its goal, named by the content's SHA-256, so that the next try goes on where this one broke off and
never mixes two versions; renamed once the hash is right.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leyden.client.api import Client
from leyden.core.errors import ConflictError, ServerError, UnreachableError

_BLOCK: Final = 1 << 20
_TRIES: Final = 5
_TIMEOUT_S: Final = 120.0  # the server reads a file that no manifest knows yet before it sends the first byte


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to fetch: its path in the API, what it is called, and where it goes."""

    url_path: str
    name: str
    goal: Path
    size_bytes: int
    sha256: str = ""  # "" where the server has yet to say
    attempt: int | None = None


def is_there(wanted: Wanted) -> bool:
    """Whether the goal has that very content already."""
    with suppress(OSError):
        if wanted.sha256 and wanted.goal.is_file() and wanted.goal.stat().st_size == wanted.size_bytes:
            return _hashed(wanted.goal).hexdigest() == wanted.sha256
    return False


def refuse_existing(goal: Path) -> None:
    """Raise ConflictError where something is there."""
    if os.path.lexists(goal):
        raise ConflictError(
            asked=f"{goal} was to be written", found="it is there already", do="Give -f to overwrite it."
        )


def fetch(
    connect: Callable[[], Client],
    wanted: Wanted,
    *,
    told: Callable[[int], None] = lambda _: None,
    pause_s: float = 0.5,
) -> str:
    """Fetch it, over breaks of the connection; the SHA-256. `told` hears of bytes as they come.

    Raises ServerError where the bytes are not those the server promised, twice; UnreachableError, LeydenError.
    """
    wanted.goal.parent.mkdir(parents=True, exist_ok=True)
    damaged = ""
    for tried in range(_TRIES):
        try:
            return _fetch(connect(), wanted, told)
        except _DamagedError as error:
            if damaged:
                raise _damaged(wanted, str(error)) from None
            damaged = str(error)
        except UnreachableError:
            if tried == _TRIES - 1:
                raise
            time.sleep(pause_s * 2**tried)
    raise _damaged(wanted, damaged)


class _DamagedError(Exception):
    """Other bytes came than those of the hash."""


def _fetch(client: Client, wanted: Wanted, told: Callable[[int], None]) -> str:
    draft, sha256 = _draft(wanted)
    have = draft.stat().st_size if draft else 0
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{sha256}"'} if have else {}
    with client.open_file(wanted.url_path, headers, attempt=wanted.attempt, timeout_s=_TIMEOUT_S) as response:
        if response.status != http.client.PARTIAL_CONTENT or draft is None:
            if draft:
                draft.unlink()
            sha256, have = (response.headers["ETag"] or "").strip('"'), 0
            draft = wanted.goal.with_name(f".{wanted.goal.name}.{sha256}.part")
        total = have + int(response.headers["Content-Length"])
        summed = _hashed(draft) if have else hashlib.sha256()
        told(have)
        with draft.open("ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                summed.update(block)
                have += len(block)
                told(len(block))
    if have < total:
        raise UnreachableError(
            asked=f"{wanted.name} was fetched", found=f"{have} of {total} bytes came", do="Run it again: it goes on."
        )
    if summed.hexdigest() != sha256:
        draft.unlink()
        told(-have)
        raise _DamagedError(f"{sha256} was announced, {summed.hexdigest()} arrived")
    _settle(draft, wanted.goal, response)
    return sha256


def _draft(wanted: Wanted) -> tuple[Path | None, str]:
    """What an earlier try left, and the hash of the whole."""
    goal = wanted.goal
    if wanted.sha256:  # then no folder of thousands has to be looked through
        exact = goal.with_name(f".{goal.name}.{wanted.sha256}.part")
        return (exact, wanted.sha256) if exact.is_file() and exact.stat().st_size else (None, "")
    for one in goal.parent.iterdir():
        name = one.name.removeprefix(f".{goal.name}.").removesuffix(".part")
        if len(name) == 64 and one.name == f".{goal.name}.{name}.part" and one.is_file() and one.stat().st_size:
            return one, name
    return None, ""


def _hashed(path: Path) -> hashlib._Hash:
    summed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            summed.update(block)
    return summed


def _settle(draft: Path, goal: Path, response: http.client.HTTPResponse) -> None:
    with suppress(ValueError, KeyError, TypeError):
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(int(response.headers["X-Leyden-Mode"], 8) & 0o777 & ~mask | 0o600)
    draft.replace(goal)


def _damaged(wanted: Wanted, how: str) -> ServerError:
    return ServerError(
        asked=f"{wanted.name} was fetched",
        found=f"it arrived damaged, twice: SHA-256 {how}",
        do="Nothing was written. See that the job no longer writes to it, and the health of the store and the network.",
    )
