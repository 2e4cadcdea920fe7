"""Which runs belong on a page: filter, sort, groups, and the names there are to choose from?

A column is what all runs have under one name: a list, and the numbers among it as one numpy array (NaN elsewhere). It
is made when it is first asked for, and only runs that have changed are looked at again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from leyden.core.errors import SpecError
from leyden.core.filter import ATTRIBUTES, All, Any, Compare, Field, Filter, Found, Not, compare, field, parse
from leyden.core.run_views import Cell, GroupView, NamesView, NameView, RunsView, RunView, SpreadView
from leyden.server.tracking.book import Book, Entry
from leyden.server.tracking.progress import progress_of
from leyden.server.tracking.rows import finite
from leyden.track.blocks import Floats

MOST_COLUMNS: Final = 128  # kept
MOST_NAMES: Final = 10_000
_FLEETING: Final = frozenset({"duration_s", "cost"})  # change with time alone
_COMPARED: Final = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}

Bools = NDArray[np.bool_]


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """A page that somebody wants."""

    filter: str = ""
    sort: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    offset: int = 0
    limit: int = 100
    archived: bool = False


@final
class _Column:
    def __init__(self) -> None:
        self.version = -1
        self.values: list[Found] = []
        self.numbers: Floats = np.empty(0)


@final
class Queries:
    """Answers from one book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._columns: dict[Field, _Column] = {}

    def page(self, asked: Asked) -> RunsView:
        """Rows or groups. Raises SpecError."""
        book = self._book
        with book.lock:
            book.sync()
            now = book.clock()
            chosen = self._chosen(asked.filter, asked.archived, now)
            if asked.group:
                groups = self._groups(chosen, asked, now)
                part = groups[asked.offset : asked.offset + asked.limit]
                return RunsView(total=len(groups), version=book.version, groups=part)
            order = self._sorted(chosen, asked.sort, now)[asked.offset : asked.offset + asked.limit]
            entries = [book.entries[number] for number in order.tolist()]
            book.reload([one.id for one in entries if one.job is not None and not one.job.state.final])  # why they wait
            fields = {name: field(name) for name in asked.columns}
            rows = [self.row(one, fields, now) for one in entries]
            return RunsView(total=len(chosen), version=book.version, rows=rows)

    def names(self, filter_: str, prefix: str, archived: bool) -> NamesView:
        """Metrics and keys of configs of these runs that begin with `prefix`."""
        book = self._book
        with book.lock:
            book.sync()
            shared: Counter[int] = Counter()
            held: dict[int, Iterable[str]] = {}
            metrics, config = Counter[str](), Counter[str]()
            for number in self._chosen(filter_, archived, book.clock()).tolist():
                entry = book.entries[number]
                config.update(entry.config.keys())
                metrics.update(entry.summary.keys())
                if entry.stats is not None:
                    names = entry.stats.names()
                    shared[id(names)] += 1
                    if id(names) not in held:
                        held[id(names)] = list(names)  # a copy: those of a live run grow meanwhile
            for key, count in shared.items():
                for name in held[key]:
                    metrics[name] += count
            return NamesView(
                metrics=_common(metrics, prefix), config=_common(config, prefix), attributes=list(ATTRIBUTES)
            )

    def row(self, entry: Entry, fields: dict[str, Field], now: float) -> RunView:
        """One line of the table."""
        book, job, row = self._book, entry.job, entry.row
        values: dict[str, Cell] = {}
        for name, one in fields.items():
            found = book.look(entry, one, now)
            if found not in (None, ()):
                values[name] = finite(", ".join(found) if isinstance(found, tuple) else found)
        progress, eta_s = progress_of(entry, now)
        last = job.last_attempt if job else None
        return RunView(
            id=entry.id,
            job_id=job.id if job else None,
            name=book.name(entry),
            user=job.user if job else row.user if row else "",
            project=row.project if row else "",
            state=entry.state,
            reason=job.reason if job and job.state != "running" else "",
            created_at=entry.created_at,
            started_at=entry.started_at,
            ended_at=entry.ended_at,
            tags=list(entry.tags),
            note=row.note if row else "",
            archived=bool(row and row.archived),
            devices=list(last.devices) if last else [],
            progress=progress,
            eta_s=eta_s,
            values=values,
        )

    def _chosen(self, text: str, archived: bool, now: float) -> NDArray[np.int64]:
        """Numbers of the entries that a filter means."""
        entries = self._book.entries
        keep = np.fromiter(
            (one.there and (archived or one.row is None or not one.row.archived) for one in entries), bool, len(entries)
        )
        return np.flatnonzero(keep & self._holds(parse(text, now=now), now))

    def _holds(self, filter_: Filter, now: float) -> Bools:
        match filter_:
            case All(parts):
                found = np.ones(len(self._book.entries), bool)
                for part in parts:
                    found &= self._holds(part, now)
                return found
            case Any(parts):
                found = np.zeros(len(self._book.entries), bool)
                for part in parts:
                    found |= self._holds(part, now)
                return found
            case Not(part):
                return ~self._holds(part, now)
            case Compare():
                return self._compared(filter_, now)

    def _compared(self, term: Compare, now: float) -> Bools:
        column = self._column(term.field, now)
        if term.operator in _COMPARED:
            results = [_COMPARED[term.operator](column.numbers, _number(value.number)) for value in term.values]
            return np.logical_or.reduce(results)  # type: ignore[no-any-return]
        known: dict[tuple[type, Found], bool] = {}
        found = np.empty(len(column.values), bool)
        for number, value in enumerate(column.values):
            key = (type(value), value)
            holds = known.get(key)
            if holds is None:
                holds = known[key] = compare(term, value)
            found[number] = holds
        return found

    def _column(self, one: Field, now: float) -> _Column:
        book = self._book
        column = self._columns.pop(one, None)
        stale = book.changed_since(column.version) if column is not None else None
        if column is None or stale is None or one.name in _FLEETING:
            column = _Column()
            stale = range(len(book.entries))
        while len(self._columns) >= MOST_COLUMNS:
            self._columns.pop(next(iter(self._columns)))
        self._columns[one] = column
        missing = len(book.entries) - len(column.values)
        column.values += [None] * missing
        column.numbers = np.concatenate((column.numbers, np.full(missing, np.nan)))
        for number in stale:
            value = column.values[number] = book.look(book.entries[number], one, now)
            numeric = isinstance(value, float | int) and not isinstance(value, bool)
            column.numbers[number] = value if numeric else math.nan
        column.version = book.version
        return column

    def _sorted(self, chosen: NDArray[np.int64], keys: Sequence[str], now: float) -> NDArray[np.int64]:
        """By these keys, "-" before the ones that run downwards; what has no value comes last, newest first."""
        entries = self._book.entries
        newest = sorted(chosen.tolist(), key=lambda number: entries[number].id, reverse=True)
        order_of = np.empty(len(entries), np.int64)
        order_of[newest] = np.arange(len(newest))
        order: list[Floats] = [order_of[chosen].astype(np.float64)]
        for key in reversed(keys):
            down = key.startswith("-")
            order += self._ranks(self._column(field(key.removeprefix("-")), now), chosen, down)
        return chosen[np.lexsort(order)]

    def _ranks(self, column: _Column, chosen: NDArray[np.int64], down: bool) -> list[Floats]:
        numbers = column.numbers[chosen]
        values = [column.values[number] for number in chosen.tolist()]
        words = sorted({_text(value) for value in values if isinstance(value, str | bool | tuple)})
        place = {word: float(number) for number, word in enumerate(words)}
        ranks = np.array([place[_text(value)] if isinstance(value, str | bool | tuple) else np.nan for value in values])
        kind = np.array([_kind(value) for value in values], np.float64)
        mixed = np.where(kind == 1, ranks, numbers)
        mixed = np.where(np.isnan(mixed), 0.0, mixed)
        return [-mixed if down else mixed, kind]

    def _groups(self, chosen: NDArray[np.int64], asked: Asked, now: float) -> list[GroupView]:
        """The largest first."""
        by = [self._column(field(name), now).values for name in asked.group]
        shown = [(name, self._column(field(name), now)) for name in asked.columns]
        members: dict[tuple[Found, ...], list[int]] = {}
        for number in chosen.tolist():
            members.setdefault(tuple(values[number] for values in by), []).append(number)
        found = [
            GroupView(
                key={name: _cell(value) for name, value in zip(asked.group, key, strict=True)},
                count=len(numbers),
                values={name: _spread(column, numbers) for name, column in shown},
            )
            for key, numbers in members.items()
        ]
        return sorted(found, key=lambda one: -one.count)


def check_sort(keys: Iterable[str]) -> None:
    """Raise SpecError for a key that is no name."""
    for key in keys:
        if not key.removeprefix("-"):
            raise SpecError(asked="sort", found="a name is missing", do="Write it like -val_loss,created_at.")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _common(counts: Counter[str], prefix: str) -> list[NameView]:
    some = ((name, count) for name, count in counts.items() if name.startswith(prefix))
    most = sorted(some, key=lambda one: (-one[1], one[0]))[:MOST_NAMES]
    return [NameView(name=name, runs=count) for name, count in most]


def _kind(value: Found) -> int:
    """Numbers, then words, then NaN, then nothing."""
    if value is None or value == ():
        return 3
    if isinstance(value, str | bool | tuple):
        return 1
    return 2 if math.isnan(value) else 0


def _text(value: Found) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _cell(value: Found) -> Cell:
    return finite(", ".join(value) if isinstance(value, tuple) else value)  # type: ignore[no-any-return]


def _spread(column: _Column, numbers: list[int]) -> SpreadView:
    some = column.numbers[numbers]
    some = some[~np.isnan(some)]
    if not len(some):
        return SpreadView(count=sum(column.values[number] is not None for number in numbers))
    with np.errstate(invalid="ignore"):
        return SpreadView(
            count=len(some),
            min=finite(float(some.min())),
            mean=finite(float(some.mean())),
            max=finite(float(some.max())),
        )
