"""How many items of each stream are among the first n of a mixture? Whole numbers, by weights that may change.

Stream after stream takes its share, rounded down, of what those before it left over; the last takes the rest. So the
counts add up to n, never go back as n grows, and stay within one item a stream of the shares of each stage. All in
Python's integers, shares in parts of 2**48: the same at any n, on any machine.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, final

from leyden.core.errors import nearest
from leyden.data.errors import DataError

Weights = Mapping[str, float]
Schedule = Sequence[tuple[int, Weights]]
FOREVER: Final = 2**62
_BITS: Final = 48


@final
class Shares:
    """Weights by stream, or [(position from which they hold, weights), …] beginning at 0."""

    def __init__(self, names: Sequence[str], weights: Weights | Schedule) -> None:
        stages = [(0, weights)] if isinstance(weights, Mapping) else list(weights)
        self.begins = [int(begin) for begin, _ in stages]
        if not stages or self.begins[0] != 0 or sorted(set(self.begins)) != self.begins:
            raise _refused(f"they hold from positions {self.begins}", "Begin with 0 and go up.")
        for name in set(names).difference(*(stage for _, stage in stages)):
            raise _refused(f"stream {name!r} has none", "Give each stream one, which may be 0.")
        self._ratios = [_ratios(names, stage) for _, stage in stages]
        self._shares = [_shares(ratios) for ratios in self._ratios]
        self._before = [(0,) * len(names)]
        for begin in self.begins[1:]:
            stage = len(self._before) - 1
            self._before.append(self._within(stage, begin - self.begins[stage]))

    def stage(self, n: int) -> int:
        """The number of the weights that hold at position n."""
        return bisect_right(self.begins, n) - 1

    def end(self, stage: int) -> int:
        """The position where those weights end."""
        return self.begins[stage + 1] if stage + 1 < len(self.begins) else FOREVER

    def counts(self, n: int) -> tuple[int, ...]:
        """Items of each stream among the first n."""
        stage = self.stage(n)
        return self._within(stage, n - self.begins[stage])

    def position(self, stream: int, item: int) -> int | None:
        """Where that item of the stream would come if shares were kept all the time; None: it never comes."""
        stage = bisect_right(self._before, item, key=lambda counts: counts[stream]) - 1
        begin, end = self.begins[stage], self.end(stage)
        if self._within(stage, end - begin)[stream] <= item:
            return None
        exact, off = item - self._before[stage][stream], len(self._before[stage])  # so many items off at most
        share = self._shares[stage][stream]
        near = range(max(int((exact - off) / share), 0), min(int((exact + off + 1) / share) + 1, end - begin))
        return begin + near[bisect_left(near, item + 1, key=lambda n: self._within(stage, n)[stream]) - 1]

    def __str__(self) -> str:
        """The same for the same shares, however they were written."""
        return str(list(zip(self.begins, self._ratios, strict=True)))

    def _within(self, stage: int, n: int) -> tuple[int, ...]:
        taken = []
        for before, ratio in zip(self._before[stage], self._ratios[stage], strict=True):
            mine = n * ratio >> _BITS
            taken.append(before + mine)
            n -= mine
        return tuple(taken)


def _ratios(names: Sequence[str], weights: Weights) -> list[int]:
    """Each stream's share of what the streams before it leave, in parts of 2**48."""
    for name in weights:
        if name not in names:
            raise _refused(f"there is no stream {name!r} ({nearest(name, names)})", "Use the streams' names.")
    exact = []
    for name in names:
        weight = weights.get(name, 0)
        if not (math.isfinite(weight) and weight >= 0):
            raise _refused(f"that of {name!r} is {weight}", "Give numbers from 0 up.")
        exact.append(Fraction(weight))
    if not sum(exact):
        raise _refused("they are all 0", "Give at least one stream a weight above 0.")
    rests = [sum(exact[at:], Fraction(0)) for at in range(len(exact))]
    return [round(weight / rest * 2**_BITS) if rest else 0 for weight, rest in zip(exact, rests, strict=True)]


def _shares(ratios: Sequence[int]) -> list[Fraction]:
    """Each stream's share of all."""
    shares, rest = [], Fraction(1)
    for ratio in ratios:
        shares.append(rest * Fraction(ratio, 2**_BITS))
        rest -= shares[-1]
    return shares


def _refused(found: str, do: str) -> DataError:
    return DataError(asked="streams were to be mixed by weights", found=found, do=do)
