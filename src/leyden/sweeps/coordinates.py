"""What do samplers and analyses, which know numbers only, see of the axes of a space?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import final

from leyden.core.sweep_views import Value
from leyden.sweeps.domains import Choice, Integers, Normal, Uniform
from leyden.sweeps.space import Axis, Space

_TAIL = 1e-9  # of a normal distribution is cut off at either end, beyond 6 standard deviations
_MOST_CATEGORIES = 256  # TPE's memory grows as trials times categories


@final
class Coordinate:
    """An axis as a number from `low` to `high`, on which equal distances are equally likely.

    Logarithmic axes are the logarithm, normal ones the quantile. With a `count`, it is one of 0, 1, … count - 1.
    `ordered`: near numbers mean near values. Those of a list of numbers follow their size. Other lists, rows of a
    CSV too, are categories, unless there are more than 256.
    """

    def __init__(self, axis: Axis) -> None:
        domain = axis.domain
        self.axis = axis
        self.ordered = True
        self.count = None if isinstance(domain, Uniform | Integers) and domain.log else domain.size
        self.low, self.high = 0.0, 1.0 if self.count is None else self.count - 1.0
        self._value_at: list[int] = []  # place → index into a list
        if isinstance(domain, Choice):
            numbers = [one for one in domain.values if isinstance(one, int | float) and not isinstance(one, bool)]
            self._value_at = list(range(domain.size))
            if len(numbers) == len(set(numbers)) == domain.size:
                self._value_at.sort(key=numbers.__getitem__)
            else:
                self.ordered = domain.size > _MOST_CATEGORIES
            self._place_of = {index: place for place, index in enumerate(self._value_at)}
        elif isinstance(domain, Integers) and domain.log:
            self.low, self.high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)
        elif isinstance(domain, Uniform) and self.count is None:
            self.low, self.high = domain.low, domain.high
            if domain.log:
                self.low, self.high = math.log(domain.low), math.log(domain.high)

    @property
    def name(self) -> str:
        """Of its parameter; of all of them where several vary together."""
        return ", ".join(self.axis.names)

    def of(self, params: Mapping[str, Value]) -> float | None:
        """Where these parameters lie; None where they do not."""
        value, domain = self.axis.value(params), self.axis.domain
        if value is None or value not in domain:
            return None
        if isinstance(domain, Choice):
            return self._place_of[domain.index(value) or 0]
        assert isinstance(value, int | float)
        if isinstance(domain, Normal):
            scale = math.log(value) if domain.log else value
            return min(1 - _TAIL, max(_TAIL, NormalDist(domain.mean, domain.std).cdf(scale)))
        if domain.log:
            return math.log(value)
        return value if self.count is None else round((value - domain.low) / (domain.step or 1))

    def params(self, place: float) -> dict[str, Value]:
        """The parameters there."""
        domain = self.axis.domain
        if isinstance(domain, Choice):
            return self.axis.of(domain.at(self._value_at[round(place)]))
        if self.count is not None:
            return self.axis.of(domain.at(round(place)))
        if isinstance(domain, Normal):
            place = NormalDist(domain.mean, domain.std).inv_cdf(min(1 - _TAIL, max(_TAIL, place)))
        value = math.exp(place) if domain.log else place
        if isinstance(domain, Normal):
            return self.axis.of(value)
        return self.axis.of(min(domain.high, max(domain.low, round(value) if isinstance(domain, Integers) else value)))


def coordinates(space: Space) -> list[Coordinate]:
    """Of all axes that have more than one value."""
    return [one for axis in space.axes if (one := Coordinate(axis)).low < one.high]
