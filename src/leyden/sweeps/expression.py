"""What does the text of an expression say, character by character?

An expression is a list in brackets or a call of a known form. The parser reads a fixed grammar and never evaluates:

    expression  [item, item, …] | name(argument, …)      numpy's prefixes (np. numpy. random.) may stand before a name
    item        number | 'text' | "text" | word | literal(…)
    argument    item | expression, one level deep
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NoReturn

from leyden.core.errors import SpecError, nearest
from leyden.core.sweep_views import Value

_HEAD: Final = re.compile(r"\s*(?:(?:np|numpy)\.)?(?:random\.)?([A-Za-z_][A-Za-z_0-9]*)\s*\(")
_SPACE: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r"""[^\s\[\](),'"]+""")
_STRING: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_INT: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)")
_BRACKETS: Final = re.compile(  # an open quote takes all the rest: so much is read once
    r"""[()]|'(?:[^'\\]|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)""", re.DOTALL
)
_CLOSING: Final = {"[": "]", "(": ")"}
_SHOWN: Final = 100  # characters of a text that an error shows
_AS_IT_IS: Final = "Where it is to be passed on as it is, write literal(…) around it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Atom:
    """One value."""

    at: int
    text: str  # what the script is given
    value: Value
    bare: bool = False  # written without quotes

    @property
    def number(self) -> float | int | None:
        """The value where it is a number that was written as one."""
        return self.value if self.bare and type(self.value) in (int, float) else None  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """[item, item]"""

    at: int
    items: tuple[Atom, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """name(argument, argument)"""

    at: int
    name: str
    args: tuple[Node, ...]
    end: int  # where its bracket closes


Node = Atom | Listing | Call


@dataclass(frozen=True, kw_only=True)
class Source:
    """A text and who gave it, for errors that point at a character."""

    text: str
    asked: str  # e.g. "--lr"

    def refuse(self, found: str, at: int, do: str) -> NoReturn:
        """Raise a SpecError with the text and a caret below it.

        >>> Source(text="[1,,2]", asked="--width").refuse("a value is missing", 3, "Write [1, 2].")
        Traceback (most recent call last):
        leyden.core.errors.SpecError: --width '[1,,2]'; a value is missing:
          [1,,2]
             ^
        . Write [1, 2].
        """
        start = max(0, min(at - _SHOWN // 2, len(self.text) - _SHOWN))
        cut = self.text[start : start + _SHOWN]
        shown = "".join(one if one.isprintable() else "�" for one in cut)
        before, after = "…" * (start > 0), "…" * (start + _SHOWN < len(self.text))
        caret = " " * (len(before) + sum(map(_columns, shown[: at - start]))) + "^"
        short = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}…"
        raise SpecError(
            asked=f"{self.asked} {short!r}", found=f"{found}:\n  {before}{shown}{after}\n  {caret}\n", do=do
        )


def parse(source: Source, forms: Collection[str]) -> Node | None:
    """The tree of an expression, an Atom for literal(…), or None where the text is none. Raises SpecError.

    >>> parse(Source(text="[32, 6.40e1, vit]", asked="--x"), ()).items[1]
    Atom(at=5, text='6.40e1', value=64.0, bare=True)
    >>> parse(Source(text="plain text (of a kind)", asked="--x"), ()) is None
    True
    """
    text = source.text.strip()
    if text.startswith("[") and text.endswith("]"):
        return _Parser(source, forms).whole()
    head = _HEAD.match(source.text)
    if head is None:
        return None
    name = head[1]
    if name == "literal" and text.endswith(")"):
        inside = source.text.rstrip()[head.end() : -1]
        return Atom(at=head.end(), text=inside, value=inside)
    if name in forms or name == "literal":
        return _Parser(source, forms).whole()
    if text.endswith(")") and _is_close(name.lower(), forms):
        source.refuse(f"{name} is no known form", head.start(1), f"{_advice(name, forms)} {_AS_IT_IS}")
    return None


def plain(text: str, at: int = 0) -> Atom:
    """A value written without quotes: a number, True, False, or a word.

    >>> [plain(text).value for text in ("32", "1e-3", "True", "007", "nan", "1e999")]
    [32, 0.001, True, '007', 'nan', '1e999']
    """
    value: Value = text
    if text in {"True", "False"}:
        value = text == "True"
    elif len(text) <= 19 and _INT.fullmatch(text) and abs(int(text)) < 2**53:
        value = int(text)  # what JSON and floats hold exactly
    elif (_FLOAT.fullmatch(text) or _INT.fullmatch(text)) and math.isfinite(float(text)):
        value = float(text)
    return Atom(at=at, text=text, value=value, bare=True)


class _Parser:
    """One pass over the text, one character of it after the other."""

    def __init__(self, source: Source, forms: Collection[str]) -> None:
        self.source, self.text, self.forms = source, source.text, forms
        self.at = 0

    def whole(self) -> Node:
        """The expression, with nothing behind it."""
        self._skip()
        node = self._list() if self.text[self.at] == "[" else self._call(depth=0)
        self._skip()
        if self.at < len(self.text):
            self.source.refuse("the expression ends before this", self.at, _AS_IT_IS)
        return node

    def _list(self) -> Listing:
        start, items = self.at, self._items("[", depth=1)
        return Listing(at=start, items=tuple(item for item in items if isinstance(item, Atom)))

    def _call(self, depth: int) -> Call:
        start, head = self.at, _HEAD.match(self.text, self.at)
        assert head is not None
        self.at = head.end() - 1
        args = self._items("(", depth + 1)
        return Call(at=start, name=head[1], args=args, end=self.at - 1)

    def _items(self, opening: str, depth: int) -> tuple[Node, ...]:
        """What stands between brackets; the place is behind them then."""
        start, closing = self.at, _CLOSING[opening]
        self.at += 1
        items: list[Node] = []
        comma = True  # whether an item may stand here
        while self._peek(start, closing) != closing:
            if self.text[self.at] == ",":
                if comma:
                    self.source.refuse("a value is missing before this comma", self.at, "Write one, or drop the comma.")
                comma = True
                self.at += 1
                continue
            if not comma and not (opening == "[" and self._quote_between(items)):
                self.source.refuse("a comma is missing before this", self.at, "Write commas between values.")
            items.append(self._node(opening, depth))
            comma = False
        if comma and items and opening == "(":
            self.source.refuse("a value is missing after the comma", self.at, "Write it, or drop the comma.")
        self.at += 1
        return tuple(items)

    def _peek(self, start: int, closing: str) -> str:
        self._skip()
        if self.at >= len(self.text):
            self.source.refuse(f"this bracket is never closed: {closing} is missing", start, f"Add a {closing}")
        return self.text[self.at]

    def _quote_between(self, items: list[Node]) -> bool:
        """Whether a comma may be left out, as Grid.ai's documentation does between quoted words."""
        last = items[-1]
        return self.text[self.at] in "'\"" or (isinstance(last, Atom) and not last.bare)

    def _node(self, opening: str, depth: int) -> Node:
        sign = self.text[self.at]
        head = _HEAD.match(self.text, self.at)
        if head is not None and head[1] == "literal":
            return self._raw(head.end())
        if (sign == "[" or head is not None) and (opening == "[" or depth > 2):
            what = "a list" if sign == "[" else f"{head[1]}(…)" if head else ""
            self.source.refuse(
                f"{what} cannot stand within {'a list' if opening == '[' else 'this'}",
                self.at,
                "Put quotes around what the script shall get, as in ['[1, 2]', '[3]'].",
            )
        if sign == "[":
            return self._list()
        if head is not None:
            if head[1] not in self.forms:
                self.source.refuse(f"{head[1]} is no known form", head.start(1), _advice(head[1], self.forms))
            return self._call(depth)
        return self._string() if sign in "'\"" else self._word()

    def _string(self) -> Atom:
        found = _STRING.match(self.text, self.at)
        if found is None:
            self.source.refuse("this quote is never closed", self.at, f"Add a {self.text[self.at]}")
        start, self.at = self.at, found.end()
        inside = re.sub(r"\\(['\"\\])", r"\1", found[1] if found[1] is not None else found[2])
        return Atom(at=start, text=inside, value=inside)

    def _word(self) -> Atom:
        found = _WORD.match(self.text, self.at)
        if found is None:
            self.source.refuse("a value is expected here", self.at, _AS_IT_IS)
        start, self.at = self.at, found.end()
        return plain(found[0], start)

    def _raw(self, start: int) -> Atom:
        """All up to the bracket that closes literal( ."""
        depth, brackets = 1, _BRACKETS.finditer(self.text, start)
        while depth:
            found = next(brackets, None)
            if found is None:
                self.source.refuse("this bracket is never closed: ) is missing", start - 1, "Add a )")
            depth += (found[0] == "(") - (found[0] == ")")
            self.at = found.end()
        inside = self.text[start : self.at - 1]
        return Atom(at=start, text=inside, value=inside)

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at


def _is_close(name: str, forms: Collection[str]) -> bool:
    """Whether it is rather a slip than another word: `unifomr`, not `format`."""
    import difflib

    return bool(difflib.get_close_matches(name, forms, n=1, cutoff=0.8))


def _advice(name: str, forms: Collection[str]) -> str:
    """
    >>> _advice("unifomr", ["uniform"]), _advice("x", ["uniform", "zip"])
    ("Did you mean 'uniform'?", 'Known: uniform, zip.')
    """
    advice = nearest(name.lower(), forms)
    return f"{advice[0].upper()}{advice[1:]}{'' if advice.endswith('?') else '.'}"


def _columns(sign: str) -> int:
    """How wide a terminal shows it."""
    return 0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
