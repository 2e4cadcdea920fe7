"""Which kinds of devices are there? Each is the word that `Trainer(accelerator=…)` takes, with Lightning's methods."""

from __future__ import annotations

import os
from typing import Any

import psutil
import torch

from leyden.core.errors import ConfigurationError
from leyden.lightning.errors import not_kept

__all__ = [
    "Accelerator",
    "CPUAccelerator",
    "CUDAAccelerator",
    "MPSAccelerator",
    "XLAAccelerator",
    "find_usable_cuda_devices",
]


class Accelerator(str):
    """Base of devices. Leyden knows those of PyTorch alone: one of your own is refused."""

    def __new__(cls) -> Accelerator:
        return super().__new__(cls, cls.name())

    @staticmethod
    def name() -> str:
        """The word for it."""
        return "auto"

    @staticmethod
    def is_available() -> bool:
        """Whether PyTorch sees one here."""
        return True

    @staticmethod
    def auto_device_count() -> int:
        """How many there are."""
        return 1

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """The devices as they were given."""
        return devices

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """What the device says of itself."""
        return {}

    def setup_device(self, device: torch.device) -> None:
        """Nothing: the Trainer does it."""

    def teardown(self) -> None:
        """Nothing: the Trainer does it."""


class CPUAccelerator(Accelerator):
    """The CPU."""

    @staticmethod
    def name() -> str:
        return "cpu"

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def get_parallel_devices(devices: int) -> list[torch.device]:
        """One for each rank."""
        return [torch.device("cpu")] * devices

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {"cpu_percent": psutil.cpu_percent(), "cpu_vm_percent": psutil.virtual_memory().percent}


class CUDAAccelerator(Accelerator):
    """NVIDIA's and AMD's GPUs."""

    @staticmethod
    def name() -> str:
        return "cuda"

    @staticmethod
    def is_available() -> bool:
        return torch.cuda.is_available()

    @staticmethod
    def auto_device_count() -> int:
        return torch.cuda.device_count()

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return torch.cuda.memory_stats(device)


class MPSAccelerator(Accelerator):
    """Apple's GPUs."""

    @staticmethod
    def name() -> str:
        return "mps"

    @staticmethod
    def is_available() -> bool:
        return torch.backends.mps.is_available()


class XLAAccelerator(Accelerator):
    """TPUs, which Leyden does not train on."""

    @staticmethod
    def name() -> str:
        return "tpu"

    @staticmethod
    def is_available() -> bool:
        return False


_KNOWN = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "gpu": CUDAAccelerator, "mps": MPSAccelerator}


def named(given: Any) -> str:
    """The word for what the user gave; raises ConfigurationError for TPUs and devices of one's own."""
    if isinstance(given, Accelerator) and type(given) not in (Accelerator, *_KNOWN.values()):
        raise not_kept(f"accelerator={type(given).__name__}()", 'Use accelerator="auto", "cpu", "gpu" or "mps".')
    if not isinstance(given, str) or given in ("tpu", "hpu", "xla"):
        raise not_kept(f"accelerator={given!r}", 'Use accelerator="auto", "cpu", "gpu" or "mps".')
    return str(given)


def accelerator_of(word: str) -> Accelerator:
    """The device a word stands for on this machine."""
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return _KNOWN[word]()


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """The first so many GPUs by index, -1 for all; raises ConfigurationError where there are fewer."""
    there = torch.cuda.device_count()
    if num_devices > there:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        raise ConfigurationError(
            asked=f"find_usable_cuda_devices({num_devices})",
            found=f"this machine has {there} (CUDA_VISIBLE_DEVICES: {visible})",
            do="Ask for fewer.",
        )
    return list(range(there if num_devices == -1 else num_devices))
