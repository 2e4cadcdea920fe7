"""Where do random numbers begin? Lightning's two functions over Leyden's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from leyden.train import rng


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and PyTorch; without a seed $PL_GLOBAL_SEED, else 0. Returns the seed.

    Loaders' workers are seeded by PyTorch from the process's seed, so `workers` needs no setting.
    """
    number = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else int(seed)
    os.environ["PL_GLOBAL_SEED"], os.environ["PL_SEED_WORKERS"] = str(number), str(int(workers))
    _seed_numpy(number)
    return rng.seed_everything(number)


def pl_worker_init_function(worker_id: int, rank: int | None = None) -> None:
    """For a loader's `worker_init_fn`: seeds Python's and NumPy's numbers from the worker's own seed."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    _seed_numpy(seed)


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """What is drawn inside changes no random number after."""
    state = rng.capture()
    try:
        yield
    finally:
        rng.restore(state)


def _seed_numpy(seed: int) -> None:
    try:
        import numpy as np
    except ImportError:
        return
    np.random.seed(seed % 2**32)
