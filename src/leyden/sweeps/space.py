"""Which arguments of a script vary, over what, and what does the script get for one choice of values?"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from leyden.core.errors import SpecError
from leyden.core.sweep_views import Value
from leyden.sweeps.domains import Choice, Domain, Point
from leyden.sweeps.expression import Source, plain
from leyden.sweeps.forms import Parameter, as_text, chosen, read

_FLAG: Final = re.compile(r"-(?!$|-$|\.?[0-9])[^\s=]*")  # -x and --x; not -, -- or -1
_KEY: Final = re.compile(r"[+~]{0,2}[^\W\d][\w.@/:-]*")  # Hydra's key=value


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Parameters that vary together: one as a rule; with several, the domain is a Choice of tuples."""

    names: tuple[str, ...]
    domain: Domain

    def of(self, value: Point) -> dict[str, Value]:
        """The parameters of one value of the domain."""
        return dict(zip(self.names, value if isinstance(value, tuple) else (value,), strict=True))

    def value(self, params: Mapping[str, Value]) -> Point | None:
        """The domain's value for these parameters; None where one is missing."""
        values = tuple(params[name] for name in self.names if name in params)
        if len(values) < len(self.names):
            return None
        return values if len(values) > 1 else values[0]


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A place among the arguments where the value of a parameter stands."""

    name: str
    flag: str = ""  # an argument of its own before the value
    prefix: str = ""  # "--lr=" or "lr=", in the same argument

    @property
    def shown(self) -> str:
        return self.flag or self.prefix.rstrip("=") or "argument"


@dataclass(frozen=True, kw_only=True)
class _Texts:
    """What the script is given for the values of one parameter."""

    written: Mapping[tuple[type, Value], str] = field(default_factory=dict)
    flag: bool = False
    optional: bool = False  # a value of "" leaves the argument out

    def of(self, value: Value) -> str:
        exact = self.written.get((type(value), value))
        if exact is not None:
            return exact
        # 32.0 where 32 was written: what came back from JSON
        return next((text for (_, one), text in self.written.items() if one == value), as_text(value))


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a sweep searches.

    >>> space = Space.parse(["data/", "--lr", "loguniform(1e-4, 1e-1)", "--width", "[32, 64]"])
    >>> space.names, space.finite, space.args({"lr": 0.5, "width": 64})
    (('lr', 'width'), False, ('data/', '--lr', '0.5', '--width', '64'))
    """

    axes: tuple[Axis, ...]
    texts: Mapping[str, str]  # name → expression as given
    pieces: tuple[str | _Slot, ...]
    written: Mapping[str, _Texts]

    @classmethod
    def parse(
        cls,
        args: Sequence[str],
        *,
        space: Mapping[str, str] = {},
        rows: Sequence[Mapping[str, str]] = (),
        seed: int = 0,
    ) -> Space:
        """The space of a script's arguments.

        `space`: further parameters, name → expression. `rows`: rows of a CSV, column → value; their columns vary
        together. Either replaces what stands among `args` under that name, or is appended as --name. `seed` draws the
        lists of uniform(0, 1, 3) and the like. Raises SpecError.
        """
        reading = _Reading(space, rows, seed)
        reading.arguments(args)
        reading.appended()
        return cls(
            axes=tuple(reading.axes()),
            texts=reading.texts,
            pieces=tuple(reading.pieces),
            written=reading.written,
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for axis in self.axes for name in axis.names)

    @property
    def finite(self) -> bool:
        return self.size is not None

    @property
    def size(self) -> int | None:
        """The number of grid points: 1 where nothing varies, None where a distribution is continuous."""
        sizes = [axis.domain.size for axis in self.axes]
        return math.prod(size for size in sizes if size is not None) if None not in sizes else None

    def point(self, number: int) -> dict[str, Value]:
        """Grid point `number`, 0 ≤ number < size; the last axis varies fastest.

        >>> space = Space.parse(["--a", "[1, 2]", "--b", "[x, y]"])
        >>> [space.point(number) for number in (0, 1, 2)]
        [{'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 2, 'b': 'x'}]
        """
        size = self.size
        if size is None:
            self._continuous()
        if not 0 <= number < size:
            raise IndexError(f"grid point {number} of {size}")
        params: dict[str, Value] = {}
        for axis in reversed(self.axes):
            number, index = divmod(number, axis.domain.size or 1)
            params = axis.of(axis.domain.at(index)) | params
        return params

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """One random point."""
        return {name: value for axis in self.axes for name, value in axis.of(axis.domain.sample(rng)).items()}

    def perturb(self, params: Mapping[str, Value], rng: random.Random) -> dict[str, Value]:
        """PBT's explore (Jaderberg et al. 2017, section 3.2): each axis is moved a little, or drawn anew."""
        moved: dict[str, Value] = {}
        for axis in self.axes:
            here, domain = axis.value(params), axis.domain
            # A value of another type than the domain's is not `in` it, and drawn anew.
            moved |= axis.of(domain.sample(rng) if here is None else domain.perturbed(here, rng))  # type: ignore[arg-type]
        return moved

    def args(self, params: Mapping[str, Value]) -> tuple[str, ...]:
        """The script's arguments with these values in place of the expressions. Raises SpecError."""
        return tuple(word for piece in self.pieces for word in self._words(piece, params))

    def _words(self, piece: str | _Slot, params: Mapping[str, Value]) -> tuple[str, ...]:
        if isinstance(piece, str):
            return (piece,)
        if piece.name not in params:
            raise SpecError(
                asked=f"arguments for {dict(params)!r}",
                found=f"{piece.name} has no value",
                do=f"Give one for each of {', '.join(self.names)}.",
            )
        value, texts = params[piece.name], self.written[piece.name]
        if texts.flag:
            return (piece.flag,) if value else ()
        if texts.optional and value == "":
            return ()
        text = texts.of(value)
        return (piece.flag, text) if piece.flag else (piece.prefix + text,)

    def _continuous(self) -> NoReturn:
        name = next(axis.names[0] for axis in self.axes if axis.domain.size is None)
        raise SpecError(
            asked="a grid over all values",
            found=f"{name} is {self.texts[name]}, which has no end of them",
            do="Use a list, linspace or logspace for it, or --strategy random.",
        )


class _Reading:
    """Arguments, as they are taken apart."""

    def __init__(self, space: Mapping[str, str], rows: Sequence[Mapping[str, str]], seed: int) -> None:
        self.seed = seed
        self.space = {_bare(name): (name, text) for name, text in space.items()}
        self.rows = [{_bare(name): text for name, text in row.items()} for row in rows]
        self.columns = {_bare(name): name for name in (rows[0] if rows else {})}
        self.pieces: list[str | _Slot] = []
        self.texts: dict[str, str] = {}
        self.written: dict[str, _Texts] = {}
        self.found: dict[str, tuple[_Slot, Parameter]] = {}
        self.met: set[str] = set()  # parameters of space and rows that stand among the arguments
        self._check()

    def _check(self) -> None:
        if twice := sorted(self.space.keys() & self.columns.keys()):
            self._twice(twice[0], "in the sweep's space and in the rows")
        for name in (*self.space, *self.columns):
            if not name or any(one.isspace() or one == "=" for one in name):
                raise SpecError(
                    asked=f"a parameter {name!r}", found="this is no name of a flag", do="Name it as in --lr, or lr."
                )
        for number, row in enumerate(self.rows):
            if odd := sorted(row.keys() ^ self.columns.keys()):
                raise SpecError(
                    asked=f"row {number + 1} of the trials",
                    found=f"it does not agree with the first on the column {odd[0]!r}",
                    do="Give all rows the same columns.",
                )

    def arguments(self, args: Sequence[str]) -> None:
        """Take apart what the user wrote behind the script."""
        at, positionals = 0, 0
        while at < len(args):
            arg, after = args[at], args[at + 1] if at + 1 < len(args) else None
            head, equals, tail = arg.partition("=")
            at += 1
            if equals and (_FLAG.fullmatch(head) or _KEY.fullmatch(head)):
                self._argument(_Slot(name=_bare(head), prefix=f"{head}="), tail)
            elif not _FLAG.fullmatch(arg):
                slot = _Slot(name=f"arg{positionals + 1}")
                self._argument(slot, arg)
                positionals += slot in self.pieces[-1:]
            elif after is None or after == "--" or _FLAG.fullmatch(after.partition("=")[0]):
                self._argument(_Slot(name=_bare(arg), flag=arg), None)
            else:
                self._argument(_Slot(name=_bare(arg), flag=arg), after)
                at += 1

    def _argument(self, slot: _Slot, text: str | None) -> None:
        """One argument with its value; None where none stands there."""
        head = [slot.flag] if slot.flag else []
        if (slot.flag or slot.prefix) and (slot.name in self.space or slot.name in self.columns):
            if slot.name in self.space and text is not None and self._read(slot, text) is not None:
                self._twice(slot.name, "among the arguments and in the sweep's space")
            self.met.add(slot.name)
            self.pieces.append(slot)
        elif text is None:
            self.pieces += head
        elif isinstance(found := self._read(slot, text), Parameter):
            self._declare(slot, found, text)
            self.pieces.append(slot)
        elif slot.prefix:
            self.pieces.append(slot.prefix + (text if found is None else found))
        else:
            self.pieces += [*head, text if found is None else found]

    def appended(self) -> None:
        """Parameters of the space and the rows; behind the arguments where they do not stand among them."""
        for name, (given, text) in self.space.items():
            slot = self._slot(name, given)
            found = self._read(slot, text)
            self._declare(slot, found if isinstance(found, Parameter) else chosen((plain(found or text),)), text)
        for name, given in self.columns.items():
            slot, cells = self._slot(name, given), [row[name] for row in self.rows]
            column = chosen(tuple(map(plain, cells)))
            self._declare(slot, column, f"a column of {len(cells)} rows")

    def _slot(self, name: str, given: str) -> _Slot:
        if name in self.met:
            return next(one for one in self.pieces if isinstance(one, _Slot) and one.name == name)
        slot = _Slot(name=name, flag=given if given.startswith("-") else f"--{name}")
        self.pieces.append(slot)
        return slot

    def _read(self, slot: _Slot, text: str) -> Parameter | str | None:
        return read(Source(text=text, asked=slot.shown), f"{self.seed} {slot.name}")

    def _declare(self, slot: _Slot, found: Parameter, text: str) -> None:
        if slot.name in self.found:
            self._twice(slot.name, "among the arguments")
        if found.flag and not slot.flag:
            raise SpecError(
                asked=f"{slot.shown} {text!r}",
                found="only a flag, as --amp, can be present or absent",
                do=f"Write it as --{slot.name} 'flag()', or use a list of two values.",
            )
        self.found[slot.name], self.texts[slot.name] = (slot, found), text
        values = found.domain.values if isinstance(found.domain, Choice) else ()
        written: dict[tuple[type, Value], str] = {}
        for value, one in zip(values, found.texts, strict=False):
            assert not isinstance(value, tuple)
            written.setdefault((type(value), value), one)
        self.written[slot.name] = _Texts(written=written, flag=found.flag, optional=slot.name in self.columns)

    def axes(self) -> Iterator[Axis]:
        """Rows first, then in the order of the arguments; what is zipped at the place of its first."""
        if self.columns:
            yield self._together(list(self.columns))
        zipped = [name for name, (_, found) in self.found.items() if found.zipped]
        for name, (_, found) in self.found.items():
            if name in self.columns or name in zipped[1:]:
                continue
            yield self._together(zipped) if name in zipped else Axis(names=(name,), domain=found.domain)

    def _together(self, names: list[str]) -> Axis:
        columns: list[tuple[Point, ...]] = []
        for name in names:
            domain = self.found[name][1].domain
            assert isinstance(domain, Choice)  # zip and rows make nothing else
            columns.append(domain.values)
            if len(domain.values) != len(columns[0]):
                first, other = self.found[names[0]][0].shown, self.found[name][0].shown
                raise SpecError(
                    asked=f"{first} {self.texts[names[0]]!r} and {other} {self.texts[name]!r}",
                    found=f"zip varies them together, but they have {len(columns[0])} and {len(domain.values)} values",
                    do="Give both as many values, or make one of them a list.",
                )
        values = columns[0] if len(columns) == 1 else tuple(zip(*columns, strict=True))
        return Axis(names=tuple(names), domain=Choice(values=values))

    def _twice(self, name: str, where: str) -> NoReturn:
        raise SpecError(asked=f"the parameter {name}", found=f"it is given twice, {where}", do="Drop one of them.")


def _bare(name: str) -> str:
    """
    >>> _bare("--lr"), _bare("-x"), _bare("+model.width")
    ('lr', 'x', 'model.width')
    """
    return name.strip().lstrip("-").lstrip("+~")
