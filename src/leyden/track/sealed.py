"""How do the points of a run that has ended lie in one file, so that a picture of a million costs milliseconds?

metrics.parquet, one row a point or group: metric, rank (-1: the worker), level, step, time, value (of a group its
mean), least, greatest, nan, points. First come all groups (levels 1 and up, the unfinished last one left out), then all
points (level 0), each in row groups of one size; the rows of one metric's level stand together. The metadata say where
each begins. Other programs read it as any Parquet: select step, value where metric = 'loss' and level = 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from leyden.core.errors import RecordError
from leyden.track.blocks import WORKER, Floats, Ints
from leyden.track.pyramid import FAN, Curve, Groups, Points, Pyramid

Kept = tuple[int, str, Pyramid]  # rank, name, points
Rows = tuple[Any, ...]  # a column each: numpy arrays, or None where it is empty

SEALED: Final = "metrics.parquet"
KEPT: Final = "metrics.kept"  # in the run's folder: a store has the file too, so that here it may be missing
GROUP_ROWS, POINT_ROWS = 1 << 13, 1 << 16  # in a row group: a picture reads few groups, and at its edges few points
_INDEX: Final = b"leyden"
_COLUMNS: Final = ("step", "time", "value", "least", "greatest", "nan")


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the rows of one metric of one rank are, and what `leyden metrics` says of it."""

    rank: int
    name: str
    count: int
    start: int  # its first point, counted among all points
    levels: tuple[tuple[int, int], ...]  # of each level, first row among all groups, and how many
    step_ordered: bool
    time_ordered: bool
    last_step: int
    last_time: float
    last: float
    least: float
    greatest: float


@final
@dataclass(frozen=True, kw_only=True)
class Index:
    """What the file says of itself. `files`: the frames that went into it and how long they were."""

    places: tuple[Place, ...]
    group_rows: int
    files: dict[str, int]
    dropped: int = 0


def has_pyarrow() -> bool:
    """Whether files can be sealed and read."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True


def is_sealed(run_dir: Path) -> bool:
    """Whether the run's points were sealed, wherever the file is now."""
    return (run_dir / SEALED).is_file() or (run_dir / KEPT).is_file()


def open_sealed(run_dir: Path) -> Sealed | None:
    """What was sealed; None where nothing was. Raises RecordError where it cannot be read, or had from its store."""
    if not is_sealed(run_dir):
        return None
    if not (run_dir / SEALED).is_file():
        _bring(run_dir)
    if not has_pyarrow():
        asked, do = f"the points in {run_dir / SEALED}", "pip install 'leyden[parquet]'"
        raise RecordError(asked=asked, found="pyarrow, which reads them, is not installed", do=do)
    return Sealed(run_dir / SEALED)


def bring_by(bring: Callable[[Path], None]) -> None:
    """That function knows how to have the file of a run's folder back from its store: of a server, in its process."""
    global _bring  # noqa: PLW0603  a process has one server at most
    _bring = bring


def _refuse(run_dir: Path) -> None:
    asked, found = f"the points in {run_dir / SEALED}", "its server has sent them to a store"
    raise RecordError(asked=asked, found=found, do=f"Ask the server: leyden metrics {run_dir.name[-4:]}")


_bring: Callable[[Path], None] = _refuse


@final
class Sealed:
    """The file, opened."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.index = _index_from(self._file.schema_arrow.metadata[_INDEX])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        self._first_points = -(-self.index.group_rows // GROUP_ROWS)  # the row group in which points begin
        self._places = {(one.rank, one.name): one for one in self.index.places}
        self._kept: dict[tuple[int, tuple[str, ...]], Any] = {}

    def metrics(self) -> Sequence[tuple[int, str]]:
        """Rank and name of each metric."""
        return list(self._places)

    def curve(self, rank: int, name: str) -> SealedCurve | None:
        """One of them."""
        place = self._places.get((rank, name))
        return SealedCurve(self, place) if place is not None else None

    def rows(self, start: int, stop: int, *, points: bool) -> list[Any]:
        """Columns of rows counted among all points, or all groups."""
        columns = _COLUMNS[:3] if points else _COLUMNS
        base, size = (self._first_points, POINT_ROWS) if points else (0, GROUP_ROWS)
        parts: list[list[Any]] = []
        for group in range(start // size, -(-stop // size)):
            table = self._row_group(base + group, columns)
            first = group * size
            parts.append([one[max(start - first, 0) : stop - first] for one in table])
        if not parts:
            return [np.empty(0, np.int64 if name == "step" else np.float64) for name in columns]
        return parts[0] if len(parts) == 1 else [np.concatenate(some) for some in zip(*parts, strict=True)]

    def _row_group(self, number: int, columns: tuple[str, ...]) -> list[Any]:
        """The last few are kept: a picture comes back to them."""
        known: list[Any] | None = self._kept.pop((number, columns), None)
        if known is None:
            try:
                table = self._file.read_row_group(number, columns=list(columns), use_threads=False)
            except (OSError, ValueError) as error:  # Arrow's own are kinds of these
                raise _damaged(self._path, error) from error
            known = [table.column(name).to_numpy() for name in columns]
            while len(self._kept) >= 8:
                self._kept.pop(next(iter(self._kept)))
        self._kept[(number, columns)] = known
        return known


@final
class SealedCurve(Curve):
    """One metric of a sealed file; nothing of it stays in memory."""

    def __init__(self, file: Sealed, place: Place) -> None:
        self._file, self._place = file, place
        self.count = place.count

    def points(self, start: int, stop: int) -> Points:
        first = self._place.start
        steps, times, values = self._file.rows(first + start, first + stop, points=True)
        return Points(steps=steps, times=times, values=values)

    def groups(self, level: int, start: int, stop: int) -> Groups:
        first, _ = self._place.levels[level - 1]
        steps, times, mean, least, greatest, nan = self._file.rows(first + start, first + stop, points=False)
        sizes = np.full(stop - start, float(FAN**level))
        return Groups(steps=steps, times=times, least=least, greatest=greatest, mean=mean, nan=nan, sizes=sizes)

    def ordered(self, x: str) -> bool:
        return self._place.step_ordered if x == "step" else self._place.time_ordered

    def position(self, x: str, value: float, *, after: bool) -> int:
        """By the first x of the groups, from the coarsest level down."""
        start, stop = 0, self.count
        for level in range(len(self._place.levels), 0, -1):
            size = FAN**level
            first, last = start // size, min(-(-stop // size), self._place.levels[level - 1][1])
            groups = self.groups(level, first, last)
            found = first + _place_in(groups.steps if x == "step" else groups.times, value, after)
            start, stop = max(start, (found - 1) * size), stop if found == last else min(stop, found * size)
        points = self.points(start, stop)
        return start + _place_in(points.steps if x == "step" else points.times, value, after)


def _place_in(along: Ints | Floats, value: float, after: bool) -> int:
    return int(np.searchsorted(along, np.array([value]), "right" if after else "left")[0])


def _damaged(path: Path, error: Exception) -> RecordError:
    return RecordError(
        asked=f"the points in {path}",
        found=f"the file is damaged ({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
        do="Take it from a copy, or remove it to see what was logged since.",
    )


def write_sealed(path: Path, curves: Sequence[Kept], files: dict[str, int], dropped: int) -> None:
    """All of these curves into a new file at `path`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    places, group_rows = _places(curves)
    index = Index(places=places, group_rows=group_rows, files=files, dropped=dropped)
    number = pa.float64()
    schema = pa.schema(
        [
            ("metric", pa.dictionary(pa.int32(), pa.string())), ("rank", pa.int32()), ("level", pa.int8()),
            ("step", pa.int64()), *((name, number) for name in _COLUMNS[1:]), ("points", pa.int64()),
        ],
        metadata={_INDEX: json.dumps(asdict(index)).encode()},
    )  # fmt: skip
    names = pa.array([name for _, name, _ in curves], pa.string())
    options = {"compression": "zstd", "use_dictionary": ["metric"], "write_statistics": False}
    with pq.ParquetWriter(path, schema, write_page_checksum=True, **options) as file:
        for rows, size in ((_group_rows(curves), GROUP_ROWS), (_point_rows(curves), POINT_ROWS)):
            for some in _cut(rows, size):
                codes = pa.DictionaryArray.from_arrays(pa.array(some[0]), names)
                arrays = [
                    codes,
                    *(pa.array(one) if one is not None else pa.nulls(len(codes), number) for one in some[1:]),
                ]
                file.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=size)


def _places(curves: Sequence[Kept]) -> tuple[tuple[Place, ...], int]:
    places, points, groups = [], 0, 0
    for rank, name, curve in curves:
        levels = []
        for count in curve.level_counts():
            levels.append((groups, count))
            groups += count
        last = curve.points(curve.count - 1, curve.count)
        whole = curve.draw(1).groups
        places.append(
            Place(
                rank=rank, name=name, count=curve.count, start=points, levels=tuple(levels),
                step_ordered=curve.ordered("step"), time_ordered=curve.ordered("time"), last_step=int(last.steps[0]),
                last_time=float(last.times[0]), last=float(last.values[0]), least=float(whole.least[0]),
                greatest=float(whole.greatest[0]),
            )
        )  # fmt: skip
        points += curve.count
    return tuple(places), groups


def _group_rows(curves: Sequence[Kept]) -> Iterator[Rows]:
    for code, (rank, _, curve) in enumerate(curves):
        for level, count in enumerate(curve.level_counts(), 1):
            some = curve.groups(level, 0, count)
            numbers = (some.steps, some.times, some.mean, some.least, some.greatest, some.nan)
            yield (*_same(count, code, rank, level), *numbers, np.full(count, FAN**level))


def _point_rows(curves: Sequence[Kept]) -> Iterator[Rows]:
    for code, (rank, _, curve) in enumerate(curves):
        some = curve.points(0, curve.count)
        numbers = (some.steps, some.times, some.values, None, None, None)
        yield (*_same(curve.count, code, rank, 0), *numbers, np.ones(curve.count, np.int64))


def _same(count: int, code: int, rank: int, level: int) -> Rows:
    shown = -1 if rank == WORKER else rank
    return np.full(count, code, np.int32), np.full(count, shown, np.int32), np.full(count, level, np.int8)


def _cut(parts: Iterator[Rows], size: int) -> Iterator[Rows]:
    """The same rows in pieces of one size."""
    waiting: list[Rows] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += len(part[0])
        if rows >= size:
            whole = _joined(waiting)
            for start in range(0, rows - size + 1, size):
                yield tuple(one if one is None else one[start : start + size] for one in whole)
            waiting, rows = [tuple(one if one is None else one[rows - rows % size :] for one in whole)], rows % size
    if rows:
        yield _joined(waiting)


def _joined(parts: Sequence[Rows]) -> Rows:
    return tuple(None if some[0] is None else np.concatenate(some) for some in zip(*parts, strict=True))


def _index_from(text: bytes) -> Index:
    plain = json.loads(text)
    places = tuple(
        Place(**{**one, "levels": tuple((start, count) for start, count in one["levels"])}) for one in plain["places"]
    )
    return Index(places=places, group_rows=plain["group_rows"], files=plain["files"], dropped=plain["dropped"])
