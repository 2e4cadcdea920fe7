"""Which values can a parameter take, and how is one drawn, counted or moved a little?"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from leyden.core.sweep_views import Value

Point = Value | tuple[Value, ...]  # a tuple where several parameters vary together
V = TypeVar("V", bound=Point)

FACTORS = (0.8, 1.2)  # Jaderberg et al. 2017, "Population Based Training of Neural Networks", section 4.1
RESAMPLED = 0.25  # the probability that PBT draws anew
_EXP_MAX = 709.0  # exp() of more is infinite


class _Domain(ABC, Generic[V]):
    """What every domain can say."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """How many values; None where they are continuous."""

    @abstractmethod
    def at(self, index: int) -> V:
        """Value number `index` of a finite domain."""

    @abstractmethod
    def sample(self, rng: random.Random) -> V: ...

    @abstractmethod
    def moved(self, value: V, rng: random.Random) -> V:
        """The value times 0.8 or 1.2, or its neighbour, within the domain."""

    @abstractmethod
    def __contains__(self, value: object) -> bool: ...

    def perturbed(self, value: V, rng: random.Random) -> V:
        """PBT's step, as in `moved`; anew with probability 0.25, or if the value is none of this domain."""
        if rng.random() < RESAMPLED or value not in self:
            return self.sample(rng)
        return self.moved(value, rng)


@dataclass(frozen=True, kw_only=True)
class Choice(_Domain[Point]):
    """One of a list. Neighbours are neighbours in it; where all are numbers, those next in size."""

    values: tuple[Point, ...]

    @property
    def size(self) -> int:
        return len(self.values)

    def at(self, index: int) -> Point:
        return self.values[index]

    def index(self, value: object) -> int | None:
        """Where it stands: 1, 1.0 and True are told apart where all of them are there."""
        equal = [at for at, one in enumerate(self.values) if one == value]
        return next((at for at in equal if type(self.values[at]) is type(value)), equal[0] if equal else None)

    def sample(self, rng: random.Random) -> Point:
        return rng.choice(self.values)

    def moved(self, value: Point, rng: random.Random) -> Point:
        order = list(range(len(self.values)))
        if all(isinstance(one, int | float) for one in self.values):
            order.sort(key=lambda at: float(self.values[at]))  # type: ignore[arg-type]  # numbers, as just seen
        here = order.index(self.index(value) or 0)
        beside = [order[at] for at in (here - 1, here + 1) if 0 <= at < len(order)]
        return self.values[rng.choice(beside)] if beside else value

    def __contains__(self, value: object) -> bool:
        return self.index(value) is not None


@dataclass(frozen=True, kw_only=True)
class Uniform(_Domain[float]):
    """A number from `low` to `high`; `log`: each decade is as likely; `step`: only low + k·step (never with log)."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def size(self) -> int | None:
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def at(self, index: int) -> float:
        if self.step is None:
            raise IndexError("the values are continuous")
        exact = Decimal(str(self.low)) + index * Decimal(str(self.step))  # 0.3, never 0.30000000000000004
        return min(self.high, float(exact))

    def sample(self, rng: random.Random) -> float:
        if self.size is not None:
            return self.at(rng.randrange(self.size))
        if self.log:
            return self._clipped(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return self._clipped(rng.uniform(self.low, self.high))

    def moved(self, value: float, rng: random.Random) -> float:
        factor = rng.choice(FACTORS)
        if self.step is None or self.size is None:
            return self._clipped(value * factor)
        here = round((value - self.low) / self.step)
        there = round((value * factor - self.low) / self.step)
        return self.at(min(self.size - 1, max(0, _a_step(here, there, value, factor))))

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        return math.isclose(
            value, self.at(round((value - self.low) / self.step)), rel_tol=1e-9, abs_tol=self.step * 1e-6
        )

    def _clipped(self, value: float) -> float:
        return min(self.high, max(self.low, value))


@dataclass(frozen=True, kw_only=True)
class Integers(_Domain[int]):
    """low, low + step, … up to `high`, which is included; `log` (with step 1, low ≥ 1): each decade is as likely."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    @property
    def size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def at(self, index: int) -> int:
        return self.low + index * self.step

    def sample(self, rng: random.Random) -> int:
        if self.log:
            drawn = round(math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))
            return min(self.high, max(self.low, drawn))
        return self.at(rng.randrange(self.size))

    def moved(self, value: int, rng: random.Random) -> int:
        factor = rng.choice(FACTORS)
        here, there = int(value - self.low) // self.step, round((value * factor - self.low) / self.step)
        return self.at(min(self.size - 1, max(0, _a_step(here, there, value, factor))))

    def __contains__(self, value: object) -> bool:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Normal(_Domain[float]):
    """Normal with that mean and standard deviation; `log`: the logarithm is (numpy's lognormal)."""

    mean: float
    std: float
    log: bool = False

    @property
    def size(self) -> None:
        return None

    def at(self, index: int) -> float:
        raise IndexError("the values are continuous")

    def sample(self, rng: random.Random) -> float:
        drawn = rng.normalvariate(self.mean, self.std)
        return math.exp(max(-_EXP_MAX, min(_EXP_MAX, drawn))) if self.log else drawn

    def moved(self, value: float, rng: random.Random) -> float:
        there = value * rng.choice(FACTORS)
        return there if math.isfinite(there) else value

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and (value > 0 or not self.log)


Domain = Choice | Uniform | Integers | Normal


def _a_step(here: int, there: int, value: float, factor: float) -> int:
    """`there`, or one step further in its direction where rounding would leave it `here`."""
    up = (factor > 1) == (value >= 0)
    return there if there != here else here + (1 if up else -1)
