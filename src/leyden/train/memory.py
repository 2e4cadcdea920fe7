"""Did a step fail because memory ran out, rather than for a fault in it?"""

from __future__ import annotations

import gc

import torch

# What allocators and libraries say that raise a plain RuntimeError.
_SAID = (
    "out of memory",  # CUDA's driver, MPS, NCCL's "CUDA failure 2 'out of memory'"
    "can't allocate memory",  # PyTorch's allocator on the CPU: DefaultCPUAllocator
    "not enough memory",  # the same on Windows
    "cannot allocate memory",  # the system's word (ENOMEM): mmap, fork of a loader's worker
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_not_supported. this error may appear if you passed in a non-contiguous input",  # cuDNN, memory full
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the host has no memory left, so that a smaller batch may fit.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."))
    True
    >>> is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(words in said for words in _SAID)


def release() -> None:
    """Give back what a failed step held, once nothing names its error any more: cycles, then the allocator's cache."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
