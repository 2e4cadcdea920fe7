"""How does text reach the terminal: colours where they are welcome, tables as wide as the window?

Rich would cost `leyden ps` more than everything else it does (60 ms of CPU against its budget of 150).
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
_MIN_COLUMN = 8


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Text of a table, and how it is painted once it has been cut to its column."""

    text: str
    paint: Callable[[str], str] = str
    right: bool = False  # as numbers stand


def coloured(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painter(stream: TextIO) -> Callable[..., str]:
    """`paint(text, BOLD, RED)` for that stream; leaves the text alone where colours are unwelcome."""
    if not coloured(stream):
        return lambda text, *_: str(text)
    return lambda text, *codes: f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if text and codes else str(text)


def note(text: str, *codes: str) -> None:
    """A line about the job, beside its output: on stderr, dim unless told otherwise."""
    sys.stdout.flush()
    print(painter(sys.stderr)(text, *(codes or (DIM,))), file=sys.stderr, flush=True)


def columns(stream: TextIO) -> int | None:
    """The terminal's width; None where the stream is none, so that nothing is cut for a pipe."""
    if not stream.isatty():
        return None
    import shutil  # 4 ms, with every compression it knows

    return shutil.get_terminal_size().columns


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]], *, width: int | None, paint: Callable[..., str]) -> str:
    """Aligned columns; those without any text are left out, the widest ones are cut when the width does not do."""
    used = [at for at in range(len(heads)) if any(row[at].text for row in rows)]
    shown = [[replace(row[at], text=clean(row[at].text)) for at in used] for row in rows]
    titles = [Cell(text=heads[at], paint=lambda text: paint(text, DIM), right=rows[0][at].right) for at in used]
    widths = [max(cells(row[at].text) for row in [titles, *shown]) for at in range(len(used))]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _MIN_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return "\n".join(_line(row, widths) for row in [titles, *shown])


def clean(text: str) -> str:
    """One line without control characters: a job's name must not move another user's cursor.

    >>> clean("a\\x1b[2Jb\\nc")
    'a?[2Jb?c'
    """
    return "".join(char if char.isprintable() else "?" for char in text)


def cells(text: str) -> int:
    """Terminal cells the text takes: wide characters two, combining ones none.

    >>> cells("naïve"), cells("数据")
    (5, 4)
    """
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits, with … after it.

    >>> cut("abcdef", 4), cut("abcd", 4)
    ('abc…', 'abcd')
    """
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def compact(devices: Sequence[str]) -> str:
    """Neighbouring devices as a range.

    >>> compact(["cpu:0", "cpu:1", "cpu:2", "gpu:0", "gpu:3"])
    'cpu:0-2 gpu:0,3'
    """
    kinds: dict[str, list[int]] = {}
    others = []
    for device in devices:
        if match := re.fullmatch(r"(\w+):(\d+)", device):
            kinds.setdefault(match[1], []).append(int(match[2]))
        else:
            others.append(device)
    return " ".join([*(f"{kind}:{_ranges(sorted(set(numbers)))}" for kind, numbers in kinds.items()), *others])


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _line(row: Sequence[Cell], widths: Sequence[int]) -> str:
    parts = []
    for cell, width in zip(row, widths, strict=True):
        text = cut(cell.text, width)
        room = " " * (width - cells(text))
        parts.append(room + cell.paint(text) if cell.right else cell.paint(text) + room)
    return "  ".join(parts).rstrip()
