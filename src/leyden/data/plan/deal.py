"""Which part of the next global batch is this rank's, and how many batches are left? Arithmetic on positions.

A global batch is the next `batch_size * size` positions of the epoch, cut into `size` neighbouring parts, so the order
of samples does not depend on the number of ranks and a deal can begin at any position. An epoch's end needs no padding:
the last full batch and the rest are dealt as two batches of half their sum (32, 32, 20, 20 and not 32, 32, 32, 8), each
spread over all ranks, sizes differ by at most 1. So

- all ranks have the same number of batches, ceil(length / (batch_size * size)), and each sample comes once;
- no part is above `batch_size`, and no batch is a tiny one, whose gradient would count as much as any other's;
- wherever a run stops within an epoch, at least half a global batch is left, so that more ranks can go on with it.

Only where `batch_size` is 1 can that not be: some ranks get 2 samples in the last batch then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

from leyden.data.errors import DataError


class Part(NamedTuple):
    """Positions start:stop are this rank's; the next global batch begins at `after`."""

    start: int
    stop: int
    after: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Deal:
    """How an order is dealt to ranks; `batch_size` is that of one rank."""

    batch_size: int
    rank: int = 0
    size: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or not 0 <= self.rank < self.size:
            raise DataError(
                asked=f"batches of {self.batch_size} for rank {self.rank} of {self.size}",
                found="a batch has at least 1 sample, and ranks count from 0",
                do="Give batch_size >= 1 and 0 <= rank < size.",
            )

    @property
    def most(self) -> int:
        """The largest part there can be, in samples: what a batch's buffer must hold."""
        return 2 if self.batch_size == 1 and self.size > 1 else self.batch_size

    def batches(self, length: int | None, position: int) -> int | None:
        """How many batches are left from there on; None where the epoch has no end. Raises DataError as `part` does."""
        if length is None:
            return None
        left, whole = self._left(length, position), self.batch_size * self.size
        if self.drop_last:
            return left // whole
        return left // whole if self.batch_size == 1 and left > whole else -(-left // whole)

    def part(self, length: int | None, position: int) -> Part | None:
        """This rank's part of the global batch that begins at `position`; None if the epoch is over.

        Raises DataError if fewer samples are left than there are ranks, or if dropping the rest leaves no batch at all.
        """
        take = whole = self.batch_size * self.size
        if length is not None:
            left = self._left(length, position)
            if left == 0 or (self.drop_last and left < whole):
                return None
            if not self.drop_last:
                take = self._take(left)
        start, stop = (position + take * rank // self.size for rank in (self.rank, self.rank + 1))
        return Part(start, stop, position + take)

    def _take(self, left: int) -> int:
        whole = self.batch_size * self.size
        if left <= whole:
            return left
        if left >= 2 * whole:
            return whole
        half = (left + 1) // 2
        return half if left - half >= self.size else left

    def _left(self, length: int, position: int) -> int:
        """Samples of the epoch that are not dealt yet; raises where they cannot be dealt."""
        left = max(length - position, 0)
        least = self.batch_size * self.size if self.drop_last and position == 0 else 0 if self.drop_last else self.size
        if left >= least or (left == 0 and position > 0):
            return left
        if position == 0:
            need = f"a global batch takes {least} with drop_last" if self.drop_last else "each rank needs at least one"
            found = f"the epoch has {length} samples, and {need}"
            do = "Use fewer ranks, more data" + (", smaller batches or drop_last=False." if self.drop_last else ".")
        else:
            found = f"{left} samples of the epoch are left at position {position}, fewer than ranks"
            do = f"Go on with at most {left} ranks, or from the next epoch, which leaves these samples out."
        raise DataError(asked=f"batches of {self.batch_size} were asked for on {self.size} ranks", found=found, do=do)
