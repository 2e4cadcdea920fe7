"""How are Adam's two moments kept in 8 bits each? By the method of Dettmers et al. 2022 (arXiv:2110.02861, §2).

Blocks of 256 values are divided by their largest magnitude and each value is replaced by the nearest entry of a code
book of 256: entries crowd toward zero over seven decades, so that small values keep their relative precision ("dynamic
tree quantization"). A block is one row of bytes: 256 codes of the first moment, 256 of the second, and both scales as
float32: 520 bytes for 256 parameters, 2.03 each. Zeroed memory is a block of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

BLOCK = 256
DECADES = 7


class Moments(Protocol):
    """How rows of moments, one for each block of parameters, are kept: `store` shows them as plain numbers."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, row_bytes) uint8 -> first and second moment, float32 (rows, BLOCK) each."""

    def write(self, rows: Tensor, first: Tensor, second: Tensor) -> None:
        """Keep both moments in the rows."""


@final
@dataclass(frozen=True, kw_only=True)
class EightBit:
    """One byte for each moment of a parameter, and 8 bytes of scales for each block."""

    first: CodeBook
    second: CodeBook
    row_bytes: int = 2 * BLOCK + 8

    @classmethod
    def on(cls, device: torch.device) -> EightBit:
        """With code books on the device: the first moment has signs, the second none."""
        return cls(first=CodeBook(signed_entries(), device), second=CodeBook(unsigned_entries(), device))

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As `Moments.read`."""
        scales = rows[:, 2 * BLOCK :].view(torch.float32)  # (rows, 2)
        first = self.first.decode(rows[:, :BLOCK]) * scales[:, :1]
        second = self.second.decode(rows[:, BLOCK : 2 * BLOCK]) * scales[:, 1:]
        return first, second

    def write(self, rows: Tensor, first: Tensor, second: Tensor) -> None:
        """As `Moments.write`. A second moment that is not zero does not become zero: a step would be divided by it."""
        scales = torch.stack([first.abs().amax(1), second.amax(1)], dim=1)  # (rows, 2)
        divisors = scales.clamp(min=torch.finfo(torch.float32).tiny)
        rows[:, :BLOCK] = self.first.encode(first / divisors[:, :1])
        codes = self.second.encode(second / divisors[:, 1:])
        rows[:, BLOCK : 2 * BLOCK] = torch.where(second > 0, codes.clamp(min=1), codes)
        rows[:, 2 * BLOCK :] = scales.view(torch.uint8)


@final
@dataclass(frozen=True, kw_only=True)
class Exact:
    """Both moments as float32, so that nothing is lost: 8 bytes a parameter."""

    row_bytes: int = 8 * BLOCK

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As `Moments.read`; what is returned are views, and changing them changes the rows."""
        both = rows.view(torch.float32)
        return both[:, :BLOCK], both[:, BLOCK:]

    def write(self, rows: Tensor, first: Tensor, second: Tensor) -> None:
        """As `Moments.write`."""
        both = rows.view(torch.float32)
        both[:, :BLOCK], both[:, BLOCK:] = first, second


@final
class CodeBook:
    """256 ascending numbers in [-1, 1], and the nearest one's place for any number there.

    A binary search costs eight dependent reads a value. Instead the upper 16 bits of a float32 look up a first guess,
    which is the answer or the one below it, because no stretch of numbers with the same upper bits has two borders
    between entries in it; one comparison decides.
    """

    def __init__(self, entries: Tensor, device: torch.device) -> None:
        middles = (entries[1:] + entries[:-1]) / 2
        self.entries = entries.to(device)
        patterns = (torch.arange(1 << 16, dtype=torch.int32) << 16).view(torch.float32)
        ends = ((torch.arange(1 << 16, dtype=torch.int32) << 16) + 0xFFFF).view(torch.float32)
        least = torch.minimum(patterns, ends).nan_to_num(0.0)
        self._guess = torch.bucketize(least, middles, out_int32=True).to(device)
        self._border = torch.cat([middles, torch.tensor([torch.inf])]).to(device)

    def encode(self, values: Tensor) -> Tensor:
        """The nearest entries' places, uint8, same shape; of two equally near, the lower. NaN becomes any place."""
        flat = values.reshape(-1)
        upper = (flat.view(torch.int32) >> 16) & 0xFFFF
        guess = self._guess.index_select(0, upper)
        guess += flat > self._border.index_select(0, guess)
        return guess.to(torch.uint8).view(values.shape)

    def decode(self, codes: Tensor) -> Tensor:
        """The entries at these places, float32, same shape."""
        return self.entries.index_select(0, codes.reshape(-1).to(torch.int32)).view(codes.shape)


def signed_entries() -> Tensor:
    """The signed code book (256,): sign, decade, and as many bits within the decade as the decade's own leave over."""
    positive = _decades(finest=1)
    return torch.cat([-positive.flip(0), torch.zeros(1), positive, torch.ones(1)])


def unsigned_entries() -> Tensor:
    """The code book of numbers that have no sign (256,), whose bit goes to the place within the decade."""
    return torch.cat([torch.zeros(1), _decades(finest=2), torch.ones(1)])


def _decades(finest: int) -> Tensor:
    """Middles of equal cells in each decade from 1e-7 to 1: `finest` cells in the lowest, twice as many in the next."""
    parts = []
    for decade in range(DECADES):
        cells = finest << decade
        places = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        parts.append(10.0 ** (decade - DECADES + 1) * (0.1 + 0.9 * places))
    return torch.cat(parts).float()
