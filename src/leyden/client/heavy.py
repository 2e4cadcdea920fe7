"""What makes a tree too large to copy, and which lines in .leydenignore would help?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leyden.core.errors import CaptureError
from leyden.core.units import format_size

IGNORE_FILE: Final = ".leydenignore"
_LISTED = 10
_MOST_OF_IT = 0.9


def check_size(tree: str, sizes: Mapping[str, int], *, limit_bytes: int) -> None:
    """Raise CaptureError, with the largest files and folders, where the files are larger than the limit together."""
    total = sum(sizes.values())
    if total <= limit_bytes:
        return
    files = sorted(sizes, key=lambda name: -sizes[name])[:_LISTED]
    folders = _folders(sizes)
    large = sorted((name for name in folders if folders[name] * _LISTED >= total), key=lambda name: -folders[name])
    listed = ", ".join(f"{name} ({format_size(sizes[name])})" for name in files)
    summed = ", ".join(f"{name} ({format_size(folders[name])})" for name in large[:_LISTED])
    lines = " ".join(f"/{name}" for name in suggested(sizes, limit_bytes=limit_bytes))
    raise CaptureError(
        asked=f"a job runs from a copy of {tree}",
        found=f"it holds {format_size(total)}, more than {format_size(limit_bytes)}; the largest files: {listed}"
        + (f"; folders: {summed}" if summed else ""),
        do=f"Write what the job does not need into {IGNORE_FILE} at its top, a line each as in .gitignore, "
        f"e.g. {lines}, or say --in-place.",
    )


def suggested(sizes: Mapping[str, int], *, limit_bytes: int) -> list[str]:
    """The files and folders without which the rest is small enough, or the first ten of them: the largest first.

    >>> suggested({"train.py": 1, "data/raw/a.bin": 60, "data/raw/b.bin": 50, "last.ckpt": 30}, limit_bytes=40)
    ['data/raw/']
    """
    left = dict(sizes)
    found: list[str] = []
    while sum(left.values()) > limit_bytes and len(found) < _LISTED:
        name = _heaviest(left, "")
        found.append(name)
        left = {
            one: size for one, size in left.items() if one != name and not (name[-1] == "/" and one.startswith(name))
        }
    return found


def _heaviest(sizes: Mapping[str, int], below: str) -> str:
    """The heaviest entry of that folder; where nearly all of a folder lies in one entry of it, that one."""
    inside: dict[str, int] = {}
    for name, size in sizes.items():
        if name.startswith(below):
            first, slash, _ = name[len(below) :].partition("/")
            inside[below + first + slash] = inside.get(below + first + slash, 0) + size
    name = max(inside, key=lambda one: inside[one])
    if below and inside[name] < _MOST_OF_IT * sum(inside.values()):
        return below
    return _heaviest(sizes, name) if name.endswith("/") else name


def _folders(sizes: Mapping[str, int]) -> dict[str, int]:
    """Every folder with the bytes of all that lies in it."""
    found: dict[str, int] = {}
    for name, size in sizes.items():
        at = name.find("/")
        while at >= 0:
            found[name[: at + 1]] = found.get(name[: at + 1], 0) + size
            at = name.find("/", at + 1)
    return found
