"""Where does a pseudo-random permutation of range(n) put a number, without writing the permutation down?

Up to TABLE numbers: sorted by a keyed hash, so every permutation is as likely as any other. Beyond that, a Feistel
network on pairs (left < a, right < b) with a * b just above n, and numbers that leave range(n) sent through again until
they are inside (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, sections 3 and 4). Fewer than
one number in sqrt(n) needs a second turn. The hash in each round is a multiply-xorshift-multiply as in SplitMix64
(Steele, Lea and Flood, OOPSLA 2014). Good statistics are the aim, not secrecy.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from leyden.data.errors import DataError
from leyden.data.sources.base import Ints

TABLE: Final = 4096
LIMIT: Final = 2**62
_ROUNDS: Final = 6
_STEP, _MIX1, _MIX2 = (np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_HALF, _TWO = np.uint64(32), np.uint64(2)
_Words = NDArray[np.uint64]


@final
class Permutation:
    """A permutation of range(n), n up to 2**62, chosen by `key` (64 bytes, `keys.digest`).

    >>> from leyden.data.plan.keys import digest
    >>> shuffled = Permutation(10**18, digest("an example"))
    >>> int(shuffled.inverse(shuffled(np.array([7])))[0])
    7
    """

    def __init__(self, n: int, key: bytes) -> None:
        if not 0 <= n <= LIMIT:
            raise DataError(
                asked=f"a permutation of {n} numbers was asked for",
                found=f"it can have 0 to {LIMIT}",
                do="Use fewer samples in an epoch.",
            )
        self.n = n
        self._keys = np.frombuffer(key, dtype="<u8").astype(np.uint64)
        self._table: Ints | None = None
        self._back: Ints | None = None
        if n <= TABLE:
            hashes = _hash(np.arange(n, dtype=np.uint64) * _STEP + self._keys[0], self._keys[1])
            self._table = np.argsort(hashes, kind="stable")
            return
        left = isqrt(n - 1) + 1
        self._left, self._right = np.uint64(left), np.uint64(-(-n // left))

    def __call__(self, numbers: Ints) -> Ints:
        """Where these numbers go; each must be in range(n)."""
        if self._table is not None:
            return self._table[numbers]
        return self._walk(numbers, self._forth)

    def inverse(self, numbers: Ints) -> Ints:
        """Which numbers go there: inverse(self(x)) == x."""
        if self._table is None:
            return self._walk(numbers, self._backward)
        if self._back is None:
            self._back = np.argsort(self._table)
        return self._back[numbers]

    def _walk(self, numbers: Ints, turn: Any) -> Ints:
        """Turn until all are inside. It ends: the numbers outside are on cycles that began inside."""
        out: Ints = turn(numbers.astype(np.uint64)).view(np.int64)
        while (outside := np.flatnonzero(out >= self.n)).size:
            out[outside] = turn(out[outside].view(np.uint64)).view(np.int64)
        return out

    def _forth(self, words: _Words) -> _Words:
        left, right = np.divmod(words, self._right)
        for turn in range(0, _ROUNDS, 2):
            left = (left + _hash(right, self._keys[turn])) % self._left
            right = (right + _hash(left, self._keys[turn + 1])) % self._right
        return left * self._right + right

    def _backward(self, words: _Words) -> _Words:
        left, right = np.divmod(words, self._right)
        for turn in range(_ROUNDS - 2, -1, -2):
            right = (right + self._right - _hash(left, self._keys[turn + 1]) % self._right) % self._right
            left = (left + self._left - _hash(right, self._keys[turn]) % self._left) % self._left
        return left * self._right + right


def _hash(words: _Words, key: np.uint64) -> _Words:
    """62 bits that depend on each bit of the word and the key. In place where it can: a small batch is all overhead."""
    out = words ^ key
    out *= _MIX1
    out ^= out >> _HALF
    out *= _MIX2
    out >>= _TWO
    return out
