"""Which runs match `metrics.loss < 0.3 and params.model = 'tree'`, and in which order? MLflow's filter language.

Comparisons joined by `and`: `metrics.`, `params.`, `tags.`, `attributes.`, `datasets.` with a name, in `backticks` or
"quotes" where it holds other than letters, digits and ._-; = != < <= > >= LIKE ILIKE IN NOT IN IS NULL IS NOT NULL;
text in single (or double) quotes, with % and _ as in SQL. (https://mlflow.org/docs/latest/ml/search/search-runs)
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from leyden.server.mlflow.faults import MlflowError, invalid

KINDS: Final = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run", ""), "attributes"),
    **dict.fromkeys(("dataset", "datasets"), "datasets"),
}
NUMERIC: Final = {"start_time", "end_time", "creation_time", "last_update_time"}
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"[^"]*"|`[^`]*`)|(?P<op><=|>=|!=|==|=|<|>)|(?P<punctuation>[(),])"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)(?![\w.]))"""
    r"""|(?P<word>[\w.\-/]+(?:`[^`]*`|"[^"]*")?))"""
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Record(Protocol):
    """What can be searched."""

    def look_up(self, kind: str, name: str) -> Any:
        """The value, or None; of datasets a list of values."""


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One comparison."""

    kind: str
    name: str
    operation: str
    value: Any = None

    def matches(self, record: Record) -> bool:
        """Whether it holds."""
        found = record.look_up(self.kind, self.name)
        if self.kind == "datasets":
            return any(self._holds(one) for one in found or ())
        return self._holds(found)

    def _holds(self, found: Any) -> bool:
        if self.operation in ("IS NULL", "IS NOT NULL"):
            return (found is None) == (self.operation == "IS NULL")
        if found is None:
            return False
        if self.operation in ("LIKE", "ILIKE"):
            return _like(str(found), self.value, ignore_case=self.operation == "ILIKE")
        if self.operation in ("IN", "NOT IN"):
            return (found in self.value) == (self.operation == "IN")
        return _COMPARE[self.operation](found, self.value)


def parse_filter(text: str | None) -> list[Clause]:
    """The comparisons, all of which must hold. Raises MlflowError."""
    words = _words(text or "")
    clauses: list[Clause] = []
    while words:
        if clauses:
            joint = words.pop(0)
            if joint[1].upper() != "AND" or joint[0] != "word":
                raise invalid(
                    f"Invalid clause(s) in filter string: {joint[1]!r}; clauses are joined by AND. In: {text!r}"
                )
        clauses.append(_clause(words, text or ""))
    return clauses


def ordering(keys: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Kind, name and whether it runs down, of each key. Raises MlflowError."""
    found = []
    for key in keys:
        words = _words(key)
        down = False
        if words and words[-1][0] == "word" and words[-1][1].upper() in ("ASC", "DESC"):
            down = words.pop()[1].upper() == "DESC"
        if len(words) != 1:
            raise invalid(f"Invalid order_by clause {key!r}; give a name such as metrics.loss, then ASC or DESC.")
        kind, name = _name(words[0], key)
        found.append((kind, name, down))
    return found


def sort_key(record: Record, kind: str, name: str) -> tuple[int, Any]:
    """For `sorted`: NaN after numbers, what is absent last; `reverse` turns only the value around."""
    value = record.look_up(kind, name)
    if value is None:
        return 2, 0
    if isinstance(value, float) and math.isnan(value):
        return 1, 0
    return 0, value


def sort(records: list[Any], keys: Sequence[tuple[str, str, bool]]) -> None:
    """In place, by all keys, the first counts most; what is absent stands last in both directions."""
    for kind, name, down in reversed(keys):
        there = [(sort_key(one, kind, name), one) for one in records]
        groups: list[list[tuple[Any, Any]]] = [[], [], []]
        for (rank, value), one in there:
            groups[rank].append((value, one))
        groups[0].sort(key=lambda pair: pair[0], reverse=down)
        records[:] = [one for group in groups for _, one in group]


def _words(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise invalid(f"Invalid filter string at {text[at : at + 20]!r}. In: {text!r}")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _clause(words: list[tuple[str, str]], text: str) -> Clause:
    kind, name = _name(words.pop(0), text)
    operation = _operation(words, text)
    if operation in ("IS NULL", "IS NOT NULL"):
        return Clause(kind=kind, name=name, operation=operation)
    if not words:
        raise invalid(f"Invalid filter string: {operation} has no value. In: {text!r}")
    if operation in ("IN", "NOT IN"):
        return Clause(kind=kind, name=name, operation=operation, value=_members(words, text))
    sort_of, word = words.pop(0)
    if kind == "metrics" or (kind == "attributes" and name in NUMERIC):
        if sort_of != "number" or operation in ("LIKE", "ILIKE"):
            raise invalid(f"Expected numeric value type for {kind[:-1]} {name!r}. Found {word} in: {text!r}")
        return Clause(kind=kind, name=name, operation=operation, value=float(word))
    if sort_of not in ("text", "quoted"):
        raise invalid(f"Expected a quoted string value for {kind[:-1]} {name!r}. Found {word} in: {text!r}")
    return Clause(kind=kind, name=name, operation=operation, value=_text(word))


def _operation(words: list[tuple[str, str]], text: str) -> str:
    sort_of, word = words.pop(0) if words else ("", "")
    found = word if sort_of == "op" else word.upper()
    if found in ("NOT", "IS") and words:
        found += f" {words.pop(0)[1].upper()}"
        if found == "IS NOT" and words:
            found += f" {words.pop(0)[1].upper()}"
    if found not in {*_COMPARE, "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"}:
        raise invalid(f"Invalid comparison operator {found!r} in filter string {text!r}")
    return found


def _members(words: list[tuple[str, str]], text: str) -> list[str]:
    found: list[str] = []
    if not words or words.pop(0)[1] != "(":
        raise _bad_list(text)
    while words:
        sort_of, word = words.pop(0)
        if sort_of not in ("text", "quoted"):
            raise _bad_list(text)
        found.append(_text(word))
        end = words.pop(0)[1] if words else ""
        if end == ")":
            return found
        if end != ",":
            break
    raise _bad_list(text)


def _bad_list(text: str) -> MlflowError:
    return invalid(f"Expected a list of quoted strings in brackets after IN. In: {text!r}")


def _name(word: tuple[str, str], text: str) -> tuple[str, str]:
    sort_of, found = word
    if sort_of not in ("word", "quoted"):
        raise invalid(f"Expected a name such as metrics.loss, found {found!r}. In: {text!r}")
    kind, dot, name = found.partition(".")
    if sort_of == "quoted" or not dot:
        kind, name = "", found
    if kind.lower() not in KINDS:
        raise invalid(
            f"Invalid entity type {kind!r}; valid are metrics, params, tags, attributes, datasets. In: {text!r}"
        )
    name = name[1:-1] if name[:1] in ('"', "`") else name
    if not name:
        raise invalid(f"A name is missing after {kind!r}. In: {text!r}")
    return KINDS[kind.lower()], name


def _text(word: str) -> str:
    return word[1:-1].replace("''", "'")


def _like(found: str, pattern: str, *, ignore_case: bool) -> bool:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), found, re.DOTALL | (re.IGNORECASE if ignore_case else 0)) is not None
