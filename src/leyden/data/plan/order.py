"""In what order do the samples of one source come: as stored, or shuffled within windows of shuffled shards?

Each epoch puts the shards into an order of its own, takes them in windows of `window_shards`, and puts the samples of
a window into random order. A window is what has to be at hand: shards are read once an epoch, one window after the
other. docs/explain/order.md has the figures for how well that shuffles.

Nothing grows with the data set per batch: where all shards but a few hold the same number of samples, which is how
shards are written, the place of a sample follows from arithmetic; otherwise from one running sum an epoch.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.plan.base import Order, Picks, Use
from leyden.data.plan.keys import digest
from leyden.data.plan.permutation import Permutation
from leyden.data.plan.pieces import concatenate, running
from leyden.data.plan.recent import Recent
from leyden.data.sources.base import Ints, Source

WINDOW_SHARDS: Final = 16
_FEW: Final = 64  # shards of another size than the others, up to which arithmetic does it
_SCAN: Final = 64  # positions per shard of a window in which every shard comes up, but for one window in e**64


class OneSource(Order):
    """What orders over a single source share."""

    def __init__(self, source: Source, window_shards: int) -> None:
        self.sources, self.window_shards = (source,), window_shards
        self._counts = np.asarray(source.counts, dtype=np.int64)
        self._length = int(self._counts.sum())
        if self._length == 0:
            raise DataError(
                asked=f"an order of the samples in {source.root or type(source).__name__} was asked for",
                found=f"its {len(self._counts)} shards hold none",
                do="Give a data set with at least one sample.",
            )

    def length(self, epoch: int) -> int:
        """Samples of an epoch: all there are."""
        return self._length

    @abstractmethod
    def edges(self, epoch: int, values: Ints) -> tuple[Ints, Ints]:
        """Positions at which windows begin, and the sum over all samples before them of what `values` adds by shard.

        The last entry of both is the epoch's end.
        """

    @abstractmethod
    def over(self, source: Source) -> OneSource:
        """The same order of another source, whose shards are groups of neighbouring shards of this one."""


@final
class Sequential(OneSource):
    """Samples as they are stored, the same in every epoch."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, 1)
        self._begins = running(self._counts)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Samples start:stop."""
        check_range(start, stop, self._length)
        positions = np.arange(start, stop)
        shards = np.searchsorted(self._begins, positions, side="right") - 1
        return Picks(shards, positions - self._begins[shards])

    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """See Order."""
        while True:
            first = int(np.searchsorted(self._begins, position, side="right")) - 1
            for shard in range(first, len(self._counts)):
                if self._counts[shard]:
                    yield Use(epoch, max(position, int(self._begins[shard])), shard)
            epoch, position = epoch + 1, 0

    def edges(self, epoch: int, values: Ints) -> tuple[Ints, Ints]:
        """See OneSource; a window is a shard."""
        return self._begins, running(values)

    def over(self, source: Source) -> Sequential:
        """See OneSource."""
        return Sequential(source)

    def fingerprint(self) -> str:
        """See Order."""
        return f"Sequential({super().fingerprint()})"


@final
class Shuffled(OneSource):
    """Shards in random order, samples in random order within windows of `window_shards` of them; new in each epoch.

    A source of one shard (a map-style data set) is shuffled as a whole. A wider window shuffles better and needs more
    room in the cache: two windows are in use while one follows the other.
    """

    def __init__(self, source: Source, *, seed: int, window_shards: int = WINDOW_SHARDS) -> None:
        super().__init__(source, window_shards)
        if window_shards < 1:
            raise DataError(
                asked=f"a window of {window_shards} shards was asked for",
                found="it holds at least one",
                do=f"Give window_shards >= 1; {WINDOW_SHARDS} is the default.",
            )
        self.seed = seed
        self._windows = -(-len(self._counts) // window_shards)
        self._usual = int(np.median(self._counts)) if len(self._counts) else 0
        self._unusual = np.flatnonzero(self._counts != self._usual)
        self._epochs: Recent[_Epoch] = Recent(3)
        self._recent: Recent[_Window] = Recent(4)
        self._last = 0, self._window(0, 0)

    def picks(self, epoch: int, start: int, stop: int) -> Picks:
        """Samples start:stop of the epoch's order."""
        check_range(start, stop, self._length)
        found = []
        while start < stop:
            known, window = self._last
            if epoch != known or not window.begin <= start < window.begin + window.samples.n:
                window = self._window(epoch, self._epoch(epoch).window_at(start))
                self._last = epoch, window
            end = min(stop, window.begin + window.samples.n)
            found.append(window.picks(start, end))
            start = end
        return concatenate(found)

    def uses(self, epoch: int, position: int) -> Iterator[Use]:
        """See Order."""
        while True:
            first = self._epoch(epoch).window_at(position) if position < self._length else self._windows
            for number in range(first, self._windows):
                window = self._window(epoch, number)
                for at, shard in window.first_uses(max(position, window.begin)):
                    yield Use(epoch, at, shard)
            epoch, position = epoch + 1, 0

    def edges(self, epoch: int, values: Ints) -> tuple[Ints, Ints]:
        """See OneSource."""
        shards = self._epoch(epoch).shards(np.arange(len(self._counts)))
        places = np.append(np.arange(0, len(shards), self.window_shards), len(shards))
        return running(self._counts[shards])[places], running(values[shards])[places]

    def over(self, source: Source) -> Shuffled:
        """See OneSource; a window holds about as many shards of the files as before."""
        window = -(-self.window_shards * len(source.counts) // len(self._counts))
        return Shuffled(source, seed=self.seed, window_shards=window)

    def fingerprint(self) -> str:
        """See Order."""
        return f"Shuffled(seed={self.seed}, window_shards={self.window_shards}, {super().fingerprint()})"

    def _epoch(self, epoch: int) -> _Epoch:
        return self._epochs.get(epoch, lambda: self._make_epoch(epoch))

    def _make_epoch(self, epoch: int) -> _Epoch:
        shards = Permutation(len(self._counts), digest("shards", self.seed, epoch))
        if len(self._unusual) <= _FEW:
            places = shards.inverse(self._unusual)
            order = np.argsort(places)
            extra = running(self._counts[self._unusual[order]] - self._usual)
            begins: Callable[[Any], Any] = _Almost(usual=self._usual, places=places[order], extra=extra)
        else:
            begins = running(self._counts[shards(np.arange(shards.n))]).__getitem__
        return _Epoch(shards=shards, begins=begins, window_shards=self.window_shards, windows=self._windows)

    def _window(self, epoch: int, number: int) -> _Window:
        return self._recent.get((epoch, number), lambda: self._make_window(epoch, number))

    def _make_window(self, epoch: int, number: int) -> _Window:
        first = number * self.window_shards
        shards = self._epoch(epoch).shards(np.arange(first, min(first + self.window_shards, len(self._counts))))
        begins = running(self._counts[shards])
        samples = Permutation(int(begins[-1]), digest("samples", self.seed, epoch, number))
        return _Window(begin=int(self._epoch(epoch).begins(first)), shards=shards, begins=begins, samples=samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Almost:
    """Where a place begins if all shards but those at `places` hold `usual` samples."""

    usual: int
    places: Ints  # ascending
    extra: Ints  # [places + 1], what those before have more than usual, added up

    def __call__(self, place: Any) -> Any:
        return place * self.usual + self.extra[np.searchsorted(self.places, place)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Epoch:
    """The order of the shards in one epoch; the place of a shard is its number in that order."""

    shards: Permutation
    begins: Callable[[Any], Any]  # position at which a place begins
    window_shards: int
    windows: int

    def window_at(self, position: int) -> int:
        """The window that holds the position."""
        numbers = range(self.windows)
        return bisect_right(numbers, position, key=lambda number: int(self.begins(number * self.window_shards))) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """Some shards, whose samples are in random order from position `begin` on."""

    begin: int
    shards: Ints
    begins: Ints  # [shards + 1]: their samples one after the other
    samples: Permutation

    def picks(self, start: int, stop: int) -> Picks:
        """What is at these positions."""
        drawn = self.samples(np.arange(start - self.begin, stop - self.begin))
        which = np.searchsorted(self.begins, drawn, side="right") - 1
        return Picks(self.shards[which], drawn - self.begins[which])

    def first_uses(self, position: int) -> list[tuple[int, int]]:
        """(position, shard) of each shard that is used from `position` on, ascending.

        A look at the next positions finds nearly all. The few that are left, almost empty or nearly used up, are
        asked where their samples come.
        """
        end = self.begin + self.samples.n
        stop = min(position + _SCAN * len(self.shards), end)
        drawn = self.samples(np.arange(position - self.begin, stop - self.begin))
        which, at = np.unique(np.searchsorted(self.begins, drawn, side="right") - 1, return_index=True)
        found = [(position + int(place), int(shard)) for place, shard in zip(at, self.shards[which], strict=True)]
        if stop < end:
            for left in np.setdiff1d(np.arange(len(self.shards)), which):
                places = self.samples.inverse(np.arange(self.begins[left], self.begins[left + 1])) + self.begin
                later = places[places >= stop]
                if later.size:
                    found.append((int(later.min()), int(self.shards[left])))
        return sorted(found)


def check_order(data: object) -> None:
    """Raise DataError unless it is an order, not the data alone."""
    if not isinstance(data, Order):
        raise DataError(
            asked=f"an order over {type(data).__name__} was asked for",
            found="it does not say in what order its samples come",
            do="Give Shuffled(source, seed=…), Sequential(source) or another order.",
        )


def check_range(start: int, stop: int, length: int | None) -> None:
    """Raise DataError unless start:stop lies in an epoch of that length."""
    if not 0 <= start <= stop or (length is not None and stop > length):
        raise DataError(
            asked=f"positions {start} to {stop} of an order were asked for",
            found="the epoch has no end" if length is None else f"the epoch has {length}",
            do="Ask within the epoch.",
        )
