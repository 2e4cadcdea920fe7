"""What does an expression mean: which domain, and which text for each of its values?"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from leyden.core.sweep_views import Value
from leyden.sweeps.domains import Choice, Domain, Integers, Normal, Uniform
from leyden.sweeps.expression import Atom, Call, Listing, Source, parse

MOST_VALUES: Final = 1_000_000
_DIGITS: Final = ".12g"  # of what is computed: 0.0001, not 0.00010000000000000009


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What one expression stands for."""

    domain: Domain
    texts: tuple[str, ...] = ()  # of a Choice: what the script is given for each value
    flag: bool = False  # True: the flag alone, False: nothing
    zipped: bool = False


def read(source: Source, seed: str) -> Parameter | str | None:
    """The parameter of an expression, what stands in literal(…), or None where the text is no expression.

    `seed` is for lists that are drawn, as uniform(0, 1, 3). Raises SpecError, pointing at a character.
    """
    node = parse(source, FORMS)
    if isinstance(node, Atom):
        return node.text
    return None if node is None else _Meaning(source, seed).of(node)


def chosen(atoms: tuple[Atom, ...]) -> Parameter:
    """One of these; `present` and `absent` alone are those of a flag."""
    if all(one.bare and one.text in {"present", "absent"} for one in atoms):
        return flags([one.text == "present" for one in atoms])
    return Parameter(domain=Choice(values=tuple(one.value for one in atoms)), texts=tuple(one.text for one in atoms))


def flags(present: list[bool]) -> Parameter:
    """A flag that is there or not."""
    return Parameter(domain=Choice(values=tuple(present)), texts=tuple(map(str, present)), flag=True)


def as_text(value: Value) -> str:
    """What a script is given for a value that nobody wrote."""
    return repr(value) if isinstance(value, float) else str(value)


class _Meaning:
    """The meaning of one tree."""

    def __init__(self, source: Source, seed: str) -> None:
        self.source, self.seed = source, seed

    def of(self, node: Listing | Call) -> Parameter:
        if isinstance(node, Call):
            return FORMS[node.name](self, node)
        if not node.items:
            self.source.refuse("the list is empty", node.at, "Write values into it, as in [32, 64].")
        self.at_most(len(node.items), node.at)
        return chosen(node.items)

    def listed(self, call: Call) -> Parameter:
        """The values of f(1, 2), f([1, 2]) or f(range(1, 3)) one by one."""
        first = call.args[0] if call.args else None
        if first is None:
            self.wrong(call, "it holds no value")
        if len(call.args) > 1 or isinstance(first, Atom):
            atoms = tuple(one for one in call.args if isinstance(one, Atom))
            if len(atoms) < len(call.args):
                self.wrong(call, "it holds more than one list")
            return self.of(Listing(at=call.at, items=atoms))
        inner = self.of(first)
        size = inner.domain.size
        if size is None:
            self.source.refuse("its values are continuous, and a list is needed", first.at, "Use linspace or a list.")
        if isinstance(inner.domain, Choice):
            return inner
        self.at_most(size, first.at)
        return self.computed([inner.domain.at(index) for index in range(size)], first.at)

    def computed(self, values: list[int] | list[float], at: int) -> Parameter:
        if not all(math.isfinite(value) for value in values):
            self.source.refuse("some of its values are infinite", at, "Use smaller numbers.")
        return Parameter(domain=Choice(values=tuple(values)), texts=tuple(map(as_text, values)))

    def drawn(self, call: Call, domain: Domain, count: int | None) -> Parameter:
        """The domain, or so many values of it."""
        if count is None:
            return Parameter(domain=domain)
        rng = self.rng()
        values = [domain.sample(rng) for _ in range(self.count(call, count))]
        return self.computed(values, call.at)  # type: ignore[arg-type]  # numbers

    def rng(self) -> random.Random:
        return random.Random(self.seed.encode("utf-8", "surrogatepass"))

    def count(self, call: Call, index: int) -> int:
        """Argument `index` as how many values there shall be."""
        count = self.whole(call, index)
        if count < 1:
            self.source.refuse(f"{count} values are none", call.args[index].at, "Ask for 1 or more.")
        self.at_most(count, call.args[index].at)
        return count

    def numbers(self, call: Call, *counts: int) -> list[float | int]:
        """The arguments, all of them numbers, as many as one of `counts`."""
        if len(call.args) not in counts:
            wanted = " or ".join(map(str, counts))
            given = f"{len(call.args)} {'is' if len(call.args) == 1 else 'are'} given"
            at = call.args[max(counts)].at if len(call.args) > max(counts) else call.end
            self.source.refuse(f"{call.name} takes {wanted} numbers, {given}", at, f"Write {EXAMPLES[call.name]}.")
        return [self.number(call, index) for index in range(len(call.args))]

    def number(self, call: Call, index: int) -> float | int:
        one = call.args[index]
        if not isinstance(one, Atom) or one.number is None:
            name = isinstance(one, Atom) and "=" in one.text
            do = "Leave the name of the argument out" if name else "Write a finite one"
            self.source.refuse("a number is needed here", one.at, f"{do}, as in {EXAMPLES[call.name]}.")
        return one.number

    def whole(self, call: Call, index: int) -> int:
        number = self.number(call, index)
        if isinstance(number, float):
            self.source.refuse("a whole number is needed here", call.args[index].at, f"Write {EXAMPLES[call.name]}.")
        return number

    def ascending(self, call: Call, low: float, high: float, *, log: bool = False) -> None:
        """Refuse what is no interval."""
        if log and low <= 0:
            self.source.refuse(
                f"{low} has no logarithm", call.args[0].at, "Begin above 0, or use the form without log."
            )
        if not low < high:
            at = call.args[min(1, len(call.args) - 1)].at
            self.source.refuse(f"{high} is not greater than {low}", at, "Write the smaller number first.")
        if not math.isfinite(high - low):
            self.source.refuse("the interval is too wide for a computer", call.at, "Use smaller numbers.")

    def at_most(self, count: int, at: int) -> None:
        if count > MOST_VALUES:
            self.source.refuse(
                f"{count:,} values are too many", at, f"{MOST_VALUES:,} are possible; use a distribution."
            )

    def wrong(self, call: Call, found: str) -> NoReturn:
        self.source.refuse(f"{call.name}: {found}", call.at, f"Write {EXAMPLES[call.name]}.")


def _range(means: _Meaning, call: Call) -> Parameter:
    means.numbers(call, 1, 2, 3)
    given = [means.whole(call, index) for index in range(len(call.args))]
    start, stop = (0, given[0]) if len(given) == 1 else given[:2]
    step = given[2] if len(given) == 3 else 1
    if step == 0:
        means.source.refuse("a step of 0 leads nowhere", call.args[2].at, "Write another.")
    values = range(start, stop, step)
    if not values:
        means.source.refuse("the range is empty", call.at, "It ends before its second number, as in Python.")
    means.at_most(len(values), call.at)
    if step < 0:
        return means.computed(list(values), call.at)
    return Parameter(domain=Integers(low=start, high=values[-1], step=step))


def _list(means: _Meaning, call: Call) -> Parameter:
    inner = call.args[0] if len(call.args) == 1 else None
    if not isinstance(inner, Listing | Call):
        means.wrong(call, "it takes one list")
    return means.of(inner)


def _uniform(means: _Meaning, call: Call) -> Parameter:
    low, high, *_ = means.numbers(call, 2, 3)
    log = call.name == "loguniform"
    means.ascending(call, low, high, log=log)
    return means.drawn(call, Uniform(low=float(low), high=float(high), log=log), _third(call))


def _normal(means: _Meaning, call: Call) -> Parameter:
    mean, std, *_ = means.numbers(call, 2, 3)
    log = call.name == "lognormal"
    if std <= 0:
        means.source.refuse(f"a deviation of {std} is not above 0", call.args[1].at, "Write a positive number.")
    if abs(mean) + 8 * std > (700 if log else 1e300):
        what = "its values would be e to the power of these numbers: too large" if log else "it is too wide"
        means.source.refuse(what, call.args[0].at, f"Use smaller numbers, as in {EXAMPLES[call.name]}.")
    return means.drawn(call, Normal(mean=float(mean), std=float(std), log=log), _third(call))


def _randint(means: _Meaning, call: Call) -> Parameter:
    log = call.name == "lograndint"
    means.numbers(call, *((2, 3) if log else (1, 2, 3)))
    given = [means.whole(call, index) for index in range(min(2, len(call.args)))]
    low, high = (0, given[0]) if len(given) == 1 else given
    means.ascending(call, low, high, log=log)
    return means.drawn(call, Integers(low=low, high=high - 1, log=log), _third(call))


def _quniform(means: _Meaning, call: Call) -> Parameter:
    low, high, step, *_ = means.numbers(call, 3)
    means.ascending(call, low, high)
    if step <= 0:
        means.source.refuse(f"a step of {step} is not above 0", call.args[2].at, "Write a positive number.")
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return Parameter(domain=Integers(low=low, high=low + (high - low) // step * step, step=step))
    if max(abs(low), abs(high)) > step * 1e9:
        means.source.refuse("the step is too fine", call.args[2].at, "Use uniform, or a larger step.")
    return Parameter(domain=Uniform(low=float(low), high=float(high), step=float(step)))


def _choice(means: _Meaning, call: Call) -> Parameter:
    if len(call.args) == 2 and not isinstance(call.args[0], Atom):  # numpy's: so many of them, with replacement
        some = means.listed(Call(at=call.at, name=call.name, args=call.args[:1], end=call.end))
        assert isinstance(some.domain, Choice)
        rng, size = means.rng(), len(some.domain.values)
        picks = [rng.randrange(size) for _ in range(means.count(call, 1))]
        values, texts = some.domain.values, some.texts
        return Parameter(
            domain=Choice(values=tuple(values[at] for at in picks)),
            texts=tuple(texts[at] for at in picks),
            flag=some.flag,
        )
    return means.listed(call)


def _zip(means: _Meaning, call: Call) -> Parameter:
    inner = means.listed(call)
    return Parameter(domain=inner.domain, texts=inner.texts, flag=inner.flag, zipped=True)


def _flag(means: _Meaning, call: Call) -> Parameter:
    if call.args:
        means.wrong(call, "it takes nothing")
    return flags([True, False])


def _linspace(means: _Meaning, call: Call) -> Parameter:
    means.numbers(call, 3)
    low, high = (Decimal(str(means.number(call, index))) for index in (0, 1))
    count = means.count(call, 2)
    return means.computed([float(low + (high - low) * at / max(1, count - 1)) for at in range(count)], call.at)


def _logspace(means: _Meaning, call: Call) -> Parameter:
    low, high, _ = means.numbers(call, 3)
    count, powers = means.count(call, 2), call.name == "logspace"
    if not powers and min(low, high) <= 0:
        means.source.refuse(f"{min(low, high)} has no logarithm", call.args[0].at, "Use numbers above 0, or linspace.")
    first, last = (low, high) if powers else (math.log10(low), math.log10(high))
    if max(abs(first), abs(last)) > 308:
        means.source.refuse(
            f"10 to the power of {max(low, high)} is no number", call.at, f"Write {EXAMPLES[call.name]}."
        )
    values = [10.0 ** (first + (last - first) * at / max(1, count - 1)) for at in range(count)]
    return means.computed([float(format(value, _DIGITS)) for value in values], call.at)


def _of_numpy(means: _Meaning, call: Call) -> Parameter:
    """So many values of a distribution that only numpy knows."""
    names = _NUMPY[call.name].split()
    if len(call.args) == len(names):
        means.source.refuse("it is missing how many values are drawn", call.end, f"Write {EXAMPLES[call.name]}.")
    *given, _ = means.numbers(call, len(names) + 1)
    count = means.count(call, len(names))
    import numpy as np  # 100 ms that few expressions need

    generator = np.random.default_rng(means.rng().getrandbits(128))
    drawn: list[int] | list[float] = []
    try:
        drawn = getattr(generator, _ALIASES.get(call.name, call.name))(*given, size=count).tolist()
    except (ValueError, TypeError, OverflowError) as error:
        means.source.refuse(f"numpy: {error}", call.at, f"Write numbers that fit, as in {EXAMPLES[call.name]}.")
    return means.computed(drawn, call.at)


def _third(call: Call) -> int | None:
    return 2 if len(call.args) == 3 else None


# numpy.random's distributions of single numbers, with what each is told before how many:
# https://numpy.org/doc/stable/reference/random/legacy.html#functions-in-numpy-random
_NUMPY: Final = {
    "beta": "2 5",
    "binomial": "10 0.5",
    "chisquare": "2",
    "exponential": "1.0",
    "f": "2 5",
    "gamma": "2.0 1.0",
    "geometric": "0.3",
    "gumbel": "0 1",
    "hypergeometric": "5 5 4",
    "laplace": "0 1",
    "logistic": "0 1",
    "logseries": "0.6",
    "negative_binomial": "3 0.5",
    "noncentral_chisquare": "3 1",
    "noncentral_f": "3 20 1",
    "pareto": "3",
    "poisson": "4",
    "power": "2",
    "rand": "",
    "randn": "",
    "random": "",
    "random_sample": "",
    "rayleigh": "1",
    "standard_cauchy": "",
    "standard_exponential": "",
    "standard_gamma": "2",
    "standard_normal": "",
    "standard_t": "10",
    "triangular": "0 0.5 1",
    "vonmises": "0 4",
    "wald": "1 1",
    "weibull": "1.5",
    "zipf": "2",
}
_ALIASES: Final = {"rand": "random", "random_sample": "random", "randn": "standard_normal"}

FORMS: Final[dict[str, Callable[[_Meaning, Call], Parameter]]] = {
    **dict.fromkeys(_NUMPY, _of_numpy),
    "range": _range,
    "list": _list,
    "uniform": _uniform,
    "loguniform": _uniform,
    "normal": _normal,
    "lognormal": _normal,
    "randint": _randint,
    "lograndint": _randint,
    "quniform": _quniform,
    "choice": _choice,
    "zip": _zip,
    "flag": _flag,
    "linspace": _linspace,
    "logspace": _logspace,
    "geomspace": _logspace,
}
EXAMPLES: Final = {
    **{name: f"{name}({', '.join([*told.split(), '5'])})" for name, told in _NUMPY.items()},
    "range": "range(1, 10, 2)",
    "list": "list(range(1, 10, 2))",
    "uniform": "uniform(0, 0.5)",
    "loguniform": "loguniform(1e-4, 1e-1)",
    "normal": "normal(0, 1)",
    "lognormal": "lognormal(0, 1)",
    "randint": "randint(1, 10)",
    "lograndint": "lograndint(1, 1000)",
    "quniform": "quniform(0, 1, 0.1)",
    "choice": "choice(32, 64)",
    "zip": "zip(32, 64)",
    "flag": "flag()",
    "linspace": "linspace(0, 1, 5)",
    "logspace": "logspace(-4, -1, 4)",
    "geomspace": "geomspace(1e-4, 1e-1, 4)",
}
