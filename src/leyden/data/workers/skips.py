"""How many bad samples may be left out before it is no accident any more?"""

from __future__ import annotations

import warnings
from typing import Final, final

from leyden.data.errors import SampleError

_FREE: Final = 5  # bad samples, however few have been seen
_SHARE: Final = 0.01


@final
class Skips:
    """Counts over the loader's life; warns at the 1st, 2nd, 4th, 8th … one left out."""

    def __init__(self) -> None:
        self.seen = self.skipped = 0

    def add(self, count: int, skipped: tuple[str, ...]) -> None:
        """A batch of `count` samples, without those. Raises SampleError when more than 1 % of all were left out."""
        self.seen += count + len(skipped)
        for each in skipped:
            self.skipped += 1
            if self.skipped & (self.skipped - 1) == 0:
                warnings.warn(f"{self.skipped} of {self.seen} samples left out, now: {each}", stacklevel=4)
        if skipped and self.skipped > max(_FREE, _SHARE * self.seen):
            raise SampleError(
                asked='bad samples were to be left out (on_error="skip")',
                found=f"{self.skipped} of {self.seen} were bad, more than 1 %; the last one: {skipped[-1]}",
                do="Mend the data (`leyden data verify`) or the transform.",
            )
