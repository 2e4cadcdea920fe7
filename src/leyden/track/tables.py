"""How do tables and histograms become JSON that a browser can read?

    table       {"columns": ["id", "guess"], "rows": [[1, "cat"], …]}
    histogram   {"counts": [3, 0, 7], "edges": [0.0, 0.5, 1.0, 1.5], "nan": 0, "low": 0, "high": 0}

JSON has neither NaN nor infinities: they are the words "nan", "inf", "-inf". A histogram counts them apart: `nan`,
`low` (−inf) and `high` (inf).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leyden.core.errors import RecordError
from leyden.track.facts import plain

MOST_CELLS: Final = 2_000_000
MOST_BINS: Final = 4096

Values = NDArray[Any]


def table(name: str, data: Any, columns: Sequence[str] | None) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of what was given: rows, a dict of columns, a list of dicts, or a frame of pandas or Polars.

    A copy: what is in the cells may be changed afterwards. Raises RecordError for what is no table.
    """
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # a frame
        data = {str(column): data[column].to_list() for column in data.columns}
    _check_size(name, len(data) if hasattr(data, "__len__") else 0, len(columns or ()))
    if isinstance(data, Mapping):
        heads, rows = _of_columns(name, data)
    else:
        heads, rows = _of_rows(name, data, columns)
    if columns is not None:
        heads, rows = _chosen(name, heads, rows, [str(one) for one in columns])
    _check_size(name, len(rows), len(heads))
    return heads, rows


def table_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """The file of a table."""
    cells = [[_cell(value) for value in row] for row in rows]
    return _json({"columns": list(columns), "rows": cells})


def numbers(name: str, values: Any) -> Values:
    """The values of a histogram, flat, as a copy. Raises RecordError for what are no numbers."""
    if hasattr(values, "detach"):
        tensor = values.detach()
        values = (tensor.float() if tensor.dtype.is_floating_point else tensor).cpu().numpy()
    try:
        found = np.array(values)
        if found.dtype.kind == "c":
            raise TypeError
        if found.dtype.kind not in "fiub":
            found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _no_histogram(
            name, "its values are no numbers", "Give an array, a tensor, or a list of numbers."
        ) from error
    return found.reshape(-1)


def counted(name: str, counts: Any, edges: Any) -> tuple[Values, Values]:
    """Ready counts with their edges, checked. Raises RecordError."""
    heights, bounds = numbers(name, counts), numbers(name, edges).astype(np.float64)
    if len(bounds) != len(heights) + 1 or not len(heights):
        found = f"{len(heights)} counts came with {len(bounds)} edges"
        raise _no_histogram(name, found, "Give one edge more than counts.")
    if not (np.isfinite(bounds).all() and (np.diff(bounds) >= 0).all()):
        raise _no_histogram(name, "its edges do not grow", "Give finite edges in order.")
    return heights, bounds


def histogram_json(values: Values, bins: int) -> bytes:
    """The file of a histogram of these values; bins of one width from the least to the greatest."""
    finite = values[np.isfinite(values)].astype(np.float64)
    heights, bounds = _bars(finite, bins)
    apart = {
        "nan": int(np.isnan(values).sum()),
        "low": int(np.isneginf(values).sum()),
        "high": int(np.isposinf(values).sum()),
    }
    return bars_json(heights, bounds, **apart)


def _bars(finite: Values, bins: int) -> tuple[Values, Values]:
    if not len(finite):
        return np.zeros(1, int), np.array([0.0, 1.0])
    try:
        return np.histogram(finite, bins)
    except ValueError:  # values so near to each other, or so far apart, that no bins fit between them
        return np.array([len(finite)]), np.array([finite.min(), finite.max()])


def bars_json(heights: Values, bounds: Values, *, nan: int = 0, low: int = 0, high: int = 0) -> bytes:
    """The file of a histogram that was counted already."""
    found = {"counts": [_cell(one) for one in heights.tolist()], "edges": bounds.tolist()}
    return _json({**found, "nan": nan, "low": low, "high": high})


def check_bins(name: str, bins: int) -> None:
    """Raise RecordError for a number of bins that cannot be drawn."""
    if not 1 <= bins <= MOST_BINS:
        raise _no_histogram(name, f"bins={bins}", f"Ask for 1 to {MOST_BINS}.")


def _check_size(name: str, rows: int, columns: int) -> None:
    if rows * columns > MOST_CELLS:
        do = f"Log at most {MOST_CELLS:,} cells; larger ones have a place in log_artifact."
        raise _no_table(name, f"it has {rows:,} rows of {columns} columns", do)


def _of_columns(name: str, data: Mapping[Any, Any]) -> tuple[list[str], list[list[Any]]]:
    columns = {str(head): list(values) for head, values in data.items()}
    lengths = {head: len(values) for head, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise _no_table(name, f"its columns differ in length: {lengths}"[:300], "Give columns of one length.")
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _of_rows(name: str, data: Any, columns: Sequence[str] | None) -> tuple[list[str], list[list[Any]]]:
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        do = "Give rows with columns=[…], a dict of columns, a list of dicts, or a frame of pandas."
        raise _no_table(name, f"it is {data!r:.60}", do)
    rows = list(data)
    if rows and all(isinstance(row, Mapping) for row in rows):
        heads = [str(head) for head in dict.fromkeys(itertools.chain.from_iterable(rows))]
        return heads, [[row.get(head) for head in heads] for row in rows]
    if columns is None:
        raise _no_table(name, "its rows came without columns", "Give columns=[…], the names of the columns.")
    cells = [list(row) if isinstance(row, Iterable) and not isinstance(row, str | bytes) else [row] for row in rows]
    wrong = next((index for index, row in enumerate(cells) if len(row) != len(columns)), None)
    if wrong is not None:
        found = f"row {wrong} has {len(cells[wrong])} cells, there are {len(columns)} columns"
        raise _no_table(name, found, "Give each row a cell a column.")
    return [str(one) for one in columns], cells


def _chosen(name: str, heads: list[str], rows: list[list[Any]], wanted: list[str]) -> tuple[list[str], list[list[Any]]]:
    """Only these columns, in this order."""
    if heads == wanted:
        return heads, rows
    if missing := [head for head in wanted if head not in heads]:
        raise _no_table(name, f"it has no column {missing[0]!r}", f"There are: {', '.join(heads)[:300]}.")
    places = [heads.index(head) for head in wanted]
    return wanted, [[row[place] for place in places] for row in rows]


def _cell(value: object) -> Any:
    found = plain(value)
    if isinstance(found, float) and not math.isfinite(found):
        return str(found)
    if isinstance(found, list):
        return [_cell(one) for one in found]
    return {key: _cell(one) for key, one in found.items()} if isinstance(found, dict) else found


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def _no_table(name: str, found: str, do: str) -> RecordError:
    return RecordError(asked=f"table {name!r} was logged", found=found, do=do)


def _no_histogram(name: str, found: str, do: str) -> RecordError:
    return RecordError(asked=f"histogram {name!r} was logged", found=found, do=do)
