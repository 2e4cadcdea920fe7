"""How does a weight in bf16 learn from updates smaller than its last bit? By stochastic rounding.

bf16 keeps 8 significant bits: next to 1.0 the step is 2^-7, and round-to-nearest loses every update below half of it.
Rounded up with the probability of what would be cut off, a weight is right on average (Gupta et al. 2015, "Deep
Learning with Limited Numerical Precision", §3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW, _HIGH = 0xFFFF, -0x10000  # the half of a float32's bits that bf16 drops, and the half it keeps


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 as bfloat16, up or down at random, unbiased; values that bf16 can hold, infinities and NaN are kept.

    Random bits are added below the last bit that stays, then cut off: the carry happens with the probability wanted.
    `generator` must be on the values' device.
    """
    bits = values.contiguous().view(torch.int32)
    rounded = (bits + random_16_bits(values.numel(), values.device, generator).view(values.shape)) & _HIGH
    # A carry into a NaN's sign would make it a number; infinity's low bits are zeros, so it stays what it is.
    return torch.where(values.isnan(), values, rounded.view(torch.float32)).bfloat16()


def random_16_bits(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """int32 of shape (count,), each from 0 to 65535; four numbers from one draw of 64 bits."""
    draws = torch.empty((count + 3) // 4, dtype=torch.int64, device=device)
    draws.random_(-(2**63), None, generator=generator)
    return draws.view(torch.int16)[:count].to(torch.int32) & _LOW
