"""How much memory does offloaded training take, which model fits, and which weights stay on the device?

A parameter takes 2 bytes as bf16 weight, wherever that lies, and 2.03 of host memory as moments (see moments.py).
Gradients (one block at a time), activations and staging are not counted here: what `Offload(device_memory=…)` leaves
of the device is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from leyden.core.errors import ConfigurationError
from leyden.core.units import format_size
from leyden.train.offload.moments import BLOCK

WEIGHT_BYTES = 2.0
MOMENT_BYTES = (2 * BLOCK + 8) / BLOCK
DEFAULT_SHARE = 0.75
"""Of the device's memory, what weights may take where the user says nothing."""
IN_FLIGHT = 3
"""Blocks of weights that may be on the device without staying there: one in use, one coming, one on its way back."""
_GOLDEN = 0.6180339887498949


def bytes_for(parameters: float) -> float:
    """Bytes of weights and moments together.

    >>> bytes_for(1)
    4.03125
    >>> f"{bytes_for(45e9) / 2**30:.0f} GiB"
    '169 GiB'
    """
    return parameters * (WEIGHT_BYTES + MOMENT_BYTES)


def largest_model(device_bytes: float, host_bytes: float) -> float:
    """Parameters of the largest model whose weights and moments fit; moments must lie on the host, weights need not.

    With 121 GiB for weights on the device and 120 GiB on the host:

    >>> f"{largest_model(121 * 2**30, 120 * 2**30) / 1e9:.1f} billion"
    '63.4 billion'
    """
    both = (device_bytes + host_bytes) / (WEIGHT_BYTES + MOMENT_BYTES)
    return min(both, host_bytes / MOMENT_BYTES)


def check_host(needed: float, free: float) -> None:
    """Raise ConfigurationError where moments and weights would take more of the host's memory than it has free."""
    if needed > free:
        raise ConfigurationError(
            asked=f"{format_size(needed)} of host memory for weights and moments",
            found=f"{format_size(free)} are free",
            do="Use a host with more, raise Offload(device_memory=…) so that fewer weights need it, or train a smaller "
            "model: each parameter takes 2.03 bytes for its moments.",
        )


def place(blocks: Sequence[int], rest: int, budget: float) -> tuple[bool, ...]:
    """Which blocks' weights stay on the device, for sizes in bytes; those outside of blocks (`rest`) always do.

    All, if they fit. Else room is kept for those in flight, and the ones that stay are spread evenly among the
    others, so that a copy has the time of several blocks' arithmetic.

    >>> place([4, 4, 4, 4], rest=4, budget=20)
    (True, True, True, True)
    >>> place([1] * 12, rest=1, budget=10)
    (True, False, True, False, True, True, False, True, False, False, True, False)
    """
    if sum(blocks) + rest <= budget:
        return (True,) * len(blocks)
    left = budget - rest - IN_FLIGHT * max(blocks, default=0)
    if left < 0 or not blocks:
        raise ConfigurationError(
            asked=f"weights of {format_size(sum(blocks) + rest)} with {format_size(budget)} for them on the device",
            found=f"those outside of blocks and {IN_FLIGHT} blocks at a time need {format_size(budget - left)}",
            do="Raise Offload(device_memory=…), or divide the model into smaller blocks (elements of a ModuleList).",
        )
    stays = [False] * len(blocks)
    for index in sorted(range(len(blocks)), key=lambda one: one * _GOLDEN % 1):
        if blocks[index] <= left:
            stays[index] = True
            left -= blocks[index]
    return tuple(stays)
