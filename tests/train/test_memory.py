"""Is a real failure to allocate told from a fault?"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from leyden.train.memory import is_out_of_memory, release

_SCRIPT = """
import resource, sys
import torch
from leyden.train.memory import is_out_of_memory
torch.zeros(10)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
for make in (lambda: torch.empty(2**30), lambda: bytearray(2**31), lambda: torch.zeros(2) @ torch.zeros(3)):
    try:
        make()
    except Exception as error:
        print(type(error).__name__, is_out_of_memory(error))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux")
def test_a_real_failure_to_allocate() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["RuntimeError True", "MemoryError True", "RuntimeError False"]


def test_what_accelerators_say() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(KeyboardInterrupt())
    release()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_that_is_full() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**45, device="cuda")
    assert is_out_of_memory(raised.value)
    release()
