"""Where do random numbers stand? Seeding, and the state of every generator a step may draw from."""

from __future__ import annotations

import random
import sys
import zlib
from typing import Any

import torch


def seed_everything(seed: int) -> int:
    """Seed Python, NumPy and PyTorch; returns the seed."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return seed


def branch(state: dict[str, Any], number: int) -> None:
    """Seed every generator by a state that `capture` gave and a number: others for each number, the same every time."""
    seed_everything(zlib.crc32(state["torch"].numpy().tobytes(), number))


def capture() -> dict[str, Any]:
    """The state of every generator in use, as plain data and tensors."""
    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if numpy := sys.modules.get("numpy"):
        name, keys, position, has_gauss, gauss = numpy.random.get_state()
        state["numpy"] = (name, [int(key) for key in keys], int(position), int(has_gauss), float(gauss))
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: dict[str, Any]) -> None:
    """Set every generator to a state that `capture` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["torch"])
    if "numpy" in state:
        import numpy as np

        np.random.set_state(tuple(state["numpy"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])  # another node may have fewer
