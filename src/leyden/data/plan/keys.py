"""Which random numbers does a sample get? Those of its (seed, epoch, position), whatever worker asks for them.

Philox is a counter-based generator: random numbers are a function of a key and a counter, and setting both costs next
to nothing (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The seed is the key; epoch and
position are the upper words of the counter, so every sample has 2**64 blocks of numbers to itself.
"""

from __future__ import annotations

import hashlib
import random
import sys
from typing import Final, final

import numpy as np

_TRANSFORM: Final = 0  # streams: what the second word of the counter says
_SEED: Final = 1


def digest(*words: object) -> bytes:
    """64 bytes that depend on all of the words: the same on every machine and in every version."""
    return hashlib.blake2b("\x1f".join(map(str, words)).encode()).digest()


@final
class Rng:
    """Random numbers by sample. Used by one thread at a time.

    >>> rng = Rng(seed=7)
    >>> first = rng.at(epoch=0, position=5).integers(100, size=3).tolist()
    >>> _ = rng.at(epoch=0, position=6).random()
    >>> rng.at(epoch=0, position=5).integers(100, size=3).tolist() == first
    True
    """

    def __init__(self, seed: int) -> None:
        key = np.frombuffer(digest("rng", seed), dtype="<u8", count=2).astype(np.uint64)
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state  # buffers empty
        self._counter = self._state["state"]["counter"]

    def at(self, epoch: int, position: int) -> np.random.Generator:
        """The generator of that sample: always the same object, set to its begin (1 µs)."""
        self._move(_TRANSFORM, epoch, position)
        return self._generator

    def word(self, epoch: int, position: int) -> int:
        """A number of 64 bits for that sample, for generators that want a seed. Leaves `at`'s generator elsewhere."""
        self._move(_SEED, epoch, position)
        return int(self._bits.random_raw())

    def seed_globals(self, epoch: int, position: int) -> None:
        """Seed `random`, `numpy.random` and, if imported, torch for that sample: for transforms that use them."""
        word = self.word(epoch, position)
        random.seed(word)
        np.random.seed(word & 0xFFFFFFFF)
        if torch := sys.modules.get("torch"):
            torch.manual_seed(word >> 1)

    def _move(self, stream: int, epoch: int, position: int) -> None:
        self._counter[1], self._counter[2], self._counter[3] = stream, epoch, position
        self._bits.state = self._state
