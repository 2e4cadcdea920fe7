"""Which runs are meant by `status=running val_loss<0.3 user=ada`?

    filter     = terms joined by `or`; terms beside each other (or joined by `and`) must all hold; `not` and ( )
    term       = name operator value          operators: = != < <= > >= ~ (holds, whatever the case) !~
    value      = a word, a number, "quoted text", several with commas (any of them), or * (whatever it is: it has one)
    name       = state, user, tag, … (ATTRIBUTES), a metric or a key of the config; what might be both is written
                 metrics.loss, config.lr; names with spaces are quoted: "val loss"<0.3

A run that has no such value fails every comparison but `!=` and `!~`. Times are written 2026-11-21, 2026-11-21T10:30
(UTC), or as how long ago: created_at>2h is the last two hours; durations as 90s or 1h30m.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn, final

from leyden.core.errors import LeydenError, SpecError
from leyden.core.units import parse_duration

ATTRIBUTES: Final = (
    "id", "job_id", "name", "user", "project", "state", "reason", "created_at", "started_at", "ended_at", "duration_s",
    "tag", "note", "host", "gpus", "cost", "priority", "attempt",
)  # fmt: skip
_ALIASES: Final = {"status": "state", "tags": "tag", "node": "host", "job": "job_id"}
_OPERATORS: Final = ("!=", "<=", ">=", "!~", "==", "=", "<", ">", "~")
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORD: Final = re.compile(r'[^\s"()=!<>~,]+')
_NUMBER: Final = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
LONGEST: Final = 10_000
DEEPEST: Final = 50


@final
@dataclass(frozen=True, kw_only=True)
class Field:
    """What a term looks at. `kind` is attribute, metrics, config, or "": a metric, else a key of the config."""

    kind: str
    name: str


@final
@dataclass(frozen=True, kw_only=True)
class Value:
    """What it is compared with: the text, and the number that it may be read as."""

    text: str
    number: float | None = None
    anything: bool = False  # the bare *


@final
@dataclass(frozen=True, kw_only=True)
class Compare:
    """One term. `operator` is one of = < <= > >= ~; several values: any of them."""

    field: Field
    operator: str
    values: tuple[Value, ...]


@final
@dataclass(frozen=True)
class Not:
    """What does not hold."""

    part: Filter


@final
@dataclass(frozen=True)
class All:
    """Every part holds; of none it does too."""

    parts: tuple[Filter, ...]


@final
@dataclass(frozen=True)
class Any:
    """At least one part holds."""

    parts: tuple[Filter, ...]


Filter = Compare | Not | All | Any
Found = str | float | bool | None | tuple[str, ...]  # what a run has there; a tuple: its tags


def parse(text: str, *, now: float = 0.0) -> Filter:
    """The filter a text means; `now` is what "2h" ago counts from. Raises SpecError, which shows the place.

    >>> parse("val_loss<0.3").values
    (Value(text='0.3', number=0.3, anything=False),)
    """
    if len(text) > LONGEST:
        found = f"it has {len(text):,} characters, and {LONGEST:,} are the most"
        raise SpecError(asked="a filter", found=found, do="Make it shorter.")
    return _Parser(text, now).whole()


def matches(filter_: Filter, look: Callable[[Field], Found]) -> bool:
    """Whether it holds of one run, whose values `look` gives.

    >>> matches(parse("lr>=1e-3 not user=bob"), lambda field: {"lr": 0.1}.get(field.name))
    True
    """
    match filter_:
        case All(parts):
            return all(matches(part, look) for part in parts)
        case Any(parts):
            return any(matches(part, look) for part in parts)
        case Not(part):
            return not matches(part, look)
        case Compare():
            return compare(filter_, look(filter_.field))


def compare(term: Compare, found: Found) -> bool:
    """Whether the term holds of what was found; nothing holds of None.

    >>> compare(parse("lr=0.10"), 0.1), compare(parse("tag=best"), ("base", "best")), compare(parse("a~NET"), "resnet")
    (True, True, True)
    """
    if found is None or found == ():
        return False
    if isinstance(found, tuple):
        return any(compare(term, one) for one in found)
    return any(_holds(term.operator, found, value) for value in term.values)


def fields_of(filter_: Filter) -> Iterator[Field]:
    """What it looks at."""
    match filter_:
        case Compare():
            yield filter_.field
        case Not(part):
            yield from fields_of(part)
        case All(parts) | Any(parts):
            for part in parts:
                yield from fields_of(part)


def field(name: str) -> Field:
    """What a name means: an attribute, else a metric or key of the config.

    >>> field("status"), field("config.lr")
    (Field(kind='attribute', name='state'), Field(kind='config', name='lr'))
    """
    known = _ALIASES.get(name, name)
    if known in ATTRIBUTES:
        return Field(kind="attribute", name=known)
    for prefix in ("metrics", "config"):
        if name.startswith(f"{prefix}.") and len(name) > len(prefix) + 1:
            return Field(kind=prefix, name=name[len(prefix) + 1 :])
    return Field(kind="", name=name)


def _holds(sign: str, found: str | float | bool, value: Value) -> bool:
    if value.anything:
        return True
    if sign == "~":
        return value.text.casefold() in _shown(found).casefold()
    number = None if isinstance(found, str | bool) else float(found)
    if sign in _ORDER:
        return number is not None and value.number is not None and _ORDER[sign](number, value.number)
    if number is None or value.number is None:
        shown = _shown(found)
        return shown == value.text or (isinstance(found, bool) and shown == value.text.lower())
    return number == value.number or (math.isnan(number) and math.isnan(value.number))


def _shown(found: str | float | bool) -> str:
    return str(found).lower() if isinstance(found, bool) else str(found)


@final
@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str  # word, quoted, sign, "(", ")", ",", end
    text: str
    at: int


@final
class _Parser:
    def __init__(self, text: str, now: float) -> None:
        self._text, self._now = text, now
        self._tokens = list(self._split())
        self._next = 0

    def whole(self) -> Filter:
        """All of it."""
        if self._peek().kind == "end":
            return All(())
        found = self._either(0)
        if self._peek().kind != "end":
            self._fail(self._peek(), "this ) has no (", "Remove it, or open one before.")
        return found

    def _either(self, depth: int) -> Filter:
        if depth > DEEPEST:
            self._fail(self._peek(), f"it is nested more than {DEEPEST} deep", "Make it flatter.")
        parts = [self._every(depth)]
        while self._word("or"):
            parts.append(self._every(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _every(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while True:
            joined = self._word("and")
            token = self._peek()
            if not joined and (token.kind in {"end", ")"} or self._is_word(token, "or")):
                return parts[0] if len(parts) == 1 else All(tuple(parts))
            parts.append(self._one(depth))

    def _one(self, depth: int) -> Filter:
        turned = False
        while self._word("not"):
            turned = not turned
        found = self._group(depth) if self._peek().kind == "(" else self._term()
        return Not(found) if turned else found

    def _group(self, depth: int) -> Filter:
        opened = self._take()
        found = self._either(depth + 1)
        if self._peek().kind != ")":
            self._fail(opened, "this ( is never closed", "Add a ) where it ends.")
        self._take()
        return found

    def _term(self) -> Filter:
        name = self._take()
        if name.kind not in {"word", "quoted"} or not name.text:
            what = "the filter ends here" if name.kind == "end" else f"{name.text!r} stands here"
            self._fail(name, f"{what}, where a name is expected", "Write it like val_loss<0.3 or user=ada.")
        sign = self._take()
        if sign.kind != "sign":
            do = f"Write it like {name.text}=…, {name.text}<…; for runs of that name: name~{name.text}"
            self._fail(sign, f"after {name.text!r} no operator ({' '.join(_OPERATORS)}) follows", f"{do}.")
        on, turned = field(name.text), sign.text.startswith("!")
        plain = sign.text.removeprefix("!").replace("==", "=")
        values = [self._value(on, plain)]
        while self._peek().kind == ",":
            self._take()
            values.append(self._value(on, plain))
        term = Compare(field=on, operator=plain, values=tuple(values))
        return Not(term) if turned else term

    def _value(self, on: Field, sign: str) -> Value:
        token = self._take()
        if token.kind not in {"word", "quoted"}:
            what = "the filter ends here" if token.kind == "end" else f"{token.text!r} stands here"
            self._fail(token, f"{what}, where a value is expected", 'Quote what holds such signs: note="a=b".')
        if token.kind == "word" and token.text == "*" and sign == "=":
            return Value(text="*", anything=True)
        number = self._number(on, token)
        if sign in _ORDER and number is None:
            self._fail(token, f"{token.text!r} is no number, and {sign} compares numbers", "Give a number.")
        return Value(text=token.text, number=number)

    def _number(self, on: Field, token: _Token) -> float | None:
        if token.kind == "word" and _NUMBER.fullmatch(token.text):
            return float(token.text)
        if on.kind != "attribute" or not on.name.endswith(("_at", "_s")):
            return None
        try:
            return self._time(token.text) if on.name.endswith("_at") else parse_duration(token.text)
        except (ValueError, OverflowError, LeydenError):
            example = "2026-11-21, 2026-11-21T10:30 or 2h (ago)" if on.name.endswith("_at") else "90s or 1h30m"
            self._fail(token, f"{token.text!r} is no {'time' if '_at' in on.name else 'duration'}", f"Write {example}.")

    def _time(self, text: str) -> float:
        if re.match(r"\d{4}-\d", text):
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return self._now - parse_duration(text)

    def _split(self) -> Iterator[_Token]:
        at, text = 0, self._text
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            sign = next((one for one in _OPERATORS if text.startswith(one, at)), None)
            if text[at] == '"':
                token, at = self._quoted(at)
                yield token
            elif text[at] in "(),":
                yield _Token(kind=text[at], text=text[at], at=at)
                at += 1
            elif sign is not None:
                yield _Token(kind="sign", text=sign, at=at)
                at += len(sign)
            elif word := _WORD.match(text, at):
                yield _Token(kind="word", text=word[0], at=at)
                at = word.end()
            else:
                self._fail(_Token(kind="sign", text=text[at], at=at), "! stands alone", "Write != or !~, or not.")
        yield _Token(kind="end", text="", at=len(text))

    def _quoted(self, start: int) -> tuple[_Token, int]:
        at, found = start + 1, []
        while at < len(self._text) and self._text[at] != '"':
            at += self._text[at] == "\\" and at + 1 < len(self._text)
            found.append(self._text[at])
            at += 1
        if at >= len(self._text):
            self._fail(_Token(kind="quoted", text="", at=start), 'this " is never closed', 'Add a " where it ends.')
        return _Token(kind="quoted", text="".join(found), at=start), at + 1

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _word(self, word: str) -> bool:
        if not self._is_word(self._peek(), word):
            return False
        self._next += 1
        return True

    def _is_word(self, token: _Token, word: str) -> bool:
        """Whether it is the keyword, and no name that happens to be called so."""
        following = self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        return token.kind == "word" and token.text.lower() == word and following.kind != "sign"

    def _fail(self, token: _Token, found: str, do: str) -> NoReturn:
        start = max(0, token.at - 40)
        shown = "".join(one if one.isprintable() else " " for one in self._text[start : token.at + 40])
        caret = " " * (token.at - start) + "^"
        raise SpecError(asked="a filter", found=f"at character {token.at + 1} {found}:\n  {shown}\n  {caret}\n", do=do)
