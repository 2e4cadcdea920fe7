"""How do pieces of token sequences become one sample, in a worker?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from leyden.data.errors import CorruptError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """Puts pieces one after the other and fills up with `pad`.

    >>> join = Join(field="tokens", length=6, pad=0)
    >>> joined = join([({"tokens": [5, 6, 7]}, (1, 3)), ({"tokens": [8, 9]}, (0, 2))])
    >>> {name: array.tolist() for name, array in joined.items()}
    {'tokens': [6, 7, 8, 9, 0, 0], 'segments': [1, 1, 2, 2, 0, 0], 'positions': [0, 1, 0, 1, 0, 0]}
    """

    field: str
    length: int
    pad: int

    def __call__(self, parts: Sequence[tuple[Any, tuple[int, int]]]) -> dict[str, NDArray[Any]]:
        """Arrays of [length]: tokens, int64; segments, 1, 2, … by piece and 0 where padded; positions in a piece.

        Tokens may attend to each other where their segments are equal and not 0. Raises CorruptError where a sample
        holds fewer tokens than its index says.
        """
        tokens = np.full(self.length, self.pad, dtype=np.int64)
        segments, positions = np.zeros((2, self.length), dtype=np.int32)
        at = 0
        for number, (sample, (start, stop)) in enumerate(parts, 1):
            piece = np.asarray(sample[self.field] if isinstance(sample, Mapping) else sample)[start:stop]
            if piece.shape != (stop - start,):
                raise CorruptError(
                    asked=f"tokens {start} to {stop} of field {self.field!r} were asked for",
                    found=f"the sample has an array of shape {piece.shape} there",
                    do="Write the index anew: the lengths in it are not those of the samples.",
                )
            end = at + len(piece)
            tokens[at:end], segments[at:end], positions[at:end] = piece, number, np.arange(len(piece))
            at = end
        return {"tokens": tokens, "segments": segments, "positions": positions}
