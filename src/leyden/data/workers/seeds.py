"""What of the training's own random numbers, where a batch is made in its process by setting the global generators?"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def kept_globals() -> Iterator[None]:
    """They stand afterwards where they stood: those of random, numpy and torch."""
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch and before[2] is not None:
            torch.set_rng_state(before[2])
