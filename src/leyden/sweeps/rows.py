"""Which trials does a CSV file ask for?"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from leyden.core.errors import SpecError

MOST_ROWS: Final = 100_000


def split_rows(args: Sequence[str]) -> tuple[tuple[str, ...], Path | None]:
    """The arguments without @trials.csv, and that file. Raises SpecError where there are two.

    >>> split_rows(["--epochs", "3", "@trials.csv"])
    (('--epochs', '3'), PosixPath('trials.csv'))
    """
    files = [arg for arg in args if _is_file(arg)]
    if len(files) > 1:
        raise SpecError(asked=" and ".join(files), found="a sweep has one file of trials", do="Put all rows in one.")
    return tuple(arg for arg in args if not _is_file(arg)), Path(files[0][1:]) if files else None


def _is_file(arg: str) -> bool:
    return arg.startswith("@") and arg.lower().endswith(".csv") and len(arg) > len("@.csv")


def read_rows(path: Path) -> tuple[dict[str, str], ...]:
    """The rows of a CSV file: flag, without its dashes, → value. Raises SpecError."""
    asked = f"the trials of {path}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _rows(csv.reader(file, strict=True, skipinitialspace=True), asked)
    except OSError as error:
        raise SpecError(asked=asked, found=(error.strerror or str(error)).lower(), do="Check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(asked=asked, found=f"this is no CSV in UTF-8: {error}", do="Save it as one.") from None


def _rows(lines: Lines, asked: str) -> tuple[dict[str, str], ...]:
    header = _header(next((line for line in lines if any(line)), []), asked)
    rows: list[dict[str, str]] = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue  # an empty line
        if len(cells) != len(header):
            raise SpecError(
                asked=asked,
                found=f"line {lines.line_num} has {len(cells)} values, and there are {len(header)} columns",
                do="Give each row a value for each column; quotes go around values with commas.",
            )
        if len(rows) == MOST_ROWS:
            raise SpecError(asked=asked, found=f"it has more than {MOST_ROWS:,} rows", do="Split it into more sweeps.")
        rows.append(dict(zip(header, (cell.strip() for cell in cells), strict=True)))
    if not rows:
        raise SpecError(asked=asked, found="it has no rows below its header", do="Write one line for each trial.")
    return tuple(rows)


def _header(cells: list[str], asked: str) -> list[str]:
    """The columns' names. Numbers, or no names, mean that the header is missing."""
    header = [cell.strip().lstrip("-") for cell in cells]
    missing = not header or any(name[:1].isdigit() or name[:1] == "." for name in header)
    if missing or "" in header:
        found = "it has no header" if missing else "a column has no name"
        raise SpecError(asked=asked, found=found, do="Write the flags into its first line, as in lr,width.")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise SpecError(asked=asked, found=f"the column {twice[0]} stands there twice", do="Drop one of them.")
    return header


class Lines(Protocol):
    """What csv.reader returns."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...
