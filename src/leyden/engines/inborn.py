"""Which variables does a program read only while it starts, so that a process forked off later cannot honour them?

Python itself, the dynamic linker, the allocator, OpenMP and PyTorch look at theirs once. A rank is forked only off a
process that was born with the same ones; all other variables are as new in a forked rank as in any.
"""

from __future__ import annotations

from collections.abc import Mapping

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # can be set anew, leyden/train/warm.py
_NOT = frozenset({*THREADS, "PYTHONPATH"})  # that one leyden/worker/fork.py honours
_NAMES = frozenset({"HOME", "LANG", "LANGUAGE", "TZ"})
_PREFIXES = (
    *("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_", "ASAN_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "DNNL_", "ONEDNN_", "NPY_"),
    *("TORCH", "PYTORCH", "ATEN_", "C10_"),
)


def inborn(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the environment that only a new process can honour.

    >>> inborn({"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "4", "SEED": "1"})
    {'PYTHONHASHSEED': '0'}
    """
    return {
        key: value
        for key, value in environ.items()
        if (key in _NAMES or key.startswith(_PREFIXES)) and key not in _NOT and not key.startswith("TORCHELASTIC_")
    }
