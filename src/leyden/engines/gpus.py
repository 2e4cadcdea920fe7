"""Which GPUs may this server give away? Asked of NVIDIA's driver; none where there is no driver.

LEYDEN_FAKE_GPUS=8 makes eight that are none, to try queues and placement with: jobs get their numbers like any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leyden.core.errors import UsageError
from leyden.engines.base import Gpu

FAKE_GPUS: Final = "LEYDEN_FAKE_GPUS"
FAKE_MEMORY_BYTES: Final = 80_000_000_000


def machine_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The fake ones that LEYDEN_FAKE_GPUS asks for, else the real ones. Raises UsageError."""
    wanted = environ.get(FAKE_GPUS, "")
    if not wanted:
        return nvidia_gpus(environ)
    if not wanted.isdecimal():
        raise UsageError(asked=f"{FAKE_GPUS}={wanted}", found="that is no number", do="Set it to e.g. 8, or unset it.")
    return tuple(Gpu(index=index, name="Fake GPU", memory_bytes=FAKE_MEMORY_BYTES) for index in range(int(wanted)))


def nvidia_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The node's GPUs, or of those the ones that CUDA_VISIBLE_DEVICES names by index or UUID."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return ()
    import pynvml  # 20 ms, and only the server needs it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        found = [
            (
                pynvml.nvmlDeviceGetUUID(handle),
                pynvml.nvmlDeviceGetName(handle),
                pynvml.nvmlDeviceGetMemoryInfo(handle).total,
            )
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()
    return tuple(
        Gpu(index=index, name=name, memory_bytes=int(memory))
        for index, (uuid, name, memory) in enumerate(found)
        if visible is None or _named(visible, index, uuid)
    )


def _named(visible: str, index: int, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES names this GPU: by index, or by the beginning of its UUID as CUDA allows.

    >>> _named("0,2", 2, "GPU-aa"), _named("GPU-a", 1, "GPU-aa"), _named("0", 1, "GPU-aa")
    (True, True, False)
    """
    for word in (part.strip() for part in visible.split(",")):
        if word == str(index) or (word.startswith("GPU-") and uuid.startswith(word)):
            return True
    return False
