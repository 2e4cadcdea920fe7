"""What of transforms that draw from the global generators of random, numpy and torch? They are seeded by sample."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def seed_globals(word: int) -> None:
    """Set all three from 64 bits; torch's only if this process has imported torch."""
    random.seed(word)
    np.random.seed(((word >> 32) & 0xFFFFFFFF, word & 0xFFFFFFFF))
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "default_generator"):
        torch.default_generator.manual_seed(word)


@contextmanager
def kept_globals() -> Iterator[None]:
    """They stand afterwards where they stood: for batches made in the process that trains."""
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch and before[2] is not None:
            torch.set_rng_state(before[2])
