"""What does a process import ahead of the scripts that are forked off it, and what must each of them set anew?

Nothing here may open a GPU or start a thread: neither survives a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

# Beside leyden.train: the first optimizer step imports torch._dynamo (0.6 s), most scripts these others.
_FURTHER = ("torch._dynamo", "torch.nn.functional", "torch.utils.data", "torch.distributed", "numpy", "leyden.data")
_openblas: list[Callable[[int], object]] = []  # of each copy that is loaded
_FIXED_SEED = 67280421310721  # of releases whose processes all begin alike; others begin by chance


def preload() -> None:
    """Import what training scripts import; what is not installed here is left out."""
    for name in _FURTHER:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _openblas.extend(_thread_setters())
    for tell in _tellers():
        atexit.unregister(tell)
        atexit.register(_tell_of_compiled, tell)


def settle(environ: Mapping[str, str], *, threads_before: str) -> None:
    """Give a forked process what a new one takes from its environment and from chance: threads and seeds.

    `threads_before` is the OMP_NUM_THREADS that this process was started with. Python's own generator seeds itself.
    """
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch.initial_seed() != _FIXED_SEED:
        torch.default_generator.seed()
    omp = environ.get("OMP_NUM_THREADS", "")
    if omp != threads_before and (threads := _number(environ.get("MKL_NUM_THREADS", "")) or _number(omp)):
        torch.set_num_threads(threads)
    if threads := _number(environ.get("OPENBLAS_NUM_THREADS", "")) or _number(omp):
        for set_threads in _openblas:
            set_threads(threads)


def _tellers() -> list[Callable[[], None]]:
    """What torch does at the end of a process to log which code it has compiled: 4 ms also where that is none."""
    names = (("torch._dynamo.utils", "dump_compile_times"), ("torch._dynamo.eval_frame", "_log_traced_frames"))
    found = [getattr(sys.modules.get(module), name, None) for module, name in names]
    return [one for one in found if one is not None]


def _tell_of_compiled(tell: Callable[[], None]) -> None:
    if getattr(sys.modules["torch._dynamo.utils"], "compilation_time_metrics", True):
        tell()


def _number(words: str) -> int:
    """The first of OMP_NUM_THREADS's list, 0 where there is none."""
    first = words.partition(",")[0]
    return int(first) if first.isdecimal() else 0


def _thread_setters() -> Iterator[Callable[[int], object]]:
    """OpenBLAS reads its variable when NumPy loads it; later ones must be told to it. Builds differ in the name."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    for path in {line.split(maxsplit=5)[5] for line in maps if "openblas" in line}:
        library = ctypes.CDLL(path)
        names = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")
        yield from [getattr(library, name) for name in names if hasattr(library, name)][:1]
