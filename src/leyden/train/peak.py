"""How many floating-point operations could this device do in a second, if nothing held it up?"""

from __future__ import annotations

import psutil
import torch

# Dense peaks in TFLOP/s by the makers' data sheets: (16-bit matrices, 32-bit without TF32). The first to fit counts.
_PEAKS = {
    "GB200": (2500, 80),
    "B200": (2250, 75),
    "GH200": (989, 67),
    "H200": (989, 67),
    "H100 PCIe": (756, 51),
    "H100 NVL": (835, 60),
    "H100": (989, 67),
    "A100": (312, 19.5),
    "A40": (150, 37.4),
    "A10G": (70, 31.5),
    "A10": (125, 31.2),
    "RTX A6000": (155, 38.7),
    "RTX 6000 Ada": (364, 91.1),
    "L40S": (362, 91.6),
    "L40": (181, 90.5),
    "L4": (121, 30.3),
    "RTX 5090": (210, 104.8),
    "RTX 4090": (165, 82.6),
    "RTX 3090": (71, 35.6),
    "V100": (125, 15.7),
    "T4": (65, 8.1),
    "MI300X": (1307, 163),
    "MI250X": (192, 24),  # one of its two dies, which is one device
}
_PER_CYCLE = {"AVX512": 64, "AVX2": 32}  # two fused multiply-adds on 16 or 8 numbers of 32 bits


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of one device for the matrices of a precision (`Trainer(precision=…)`); None where it is not known.

    A GPU's is that of its data sheet without sparsity, a CPU's that of PyTorch's threads at their highest clock.
    """
    half = "16" in precision
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        found = next((peaks for key, peaks in _PEAKS.items() if key in name), None)
        return None if found is None or "64" in precision else found[0 if half else 1] * 1e12
    if device.type == "cpu" and precision in ("32-true", "32"):
        return _peak_of_cpu()
    return None


def _peak_of_cpu() -> float | None:
    cycles = _PER_CYCLE.get(torch.backends.cpu.get_cpu_capability())
    clock = psutil.cpu_freq()
    if cycles is None or clock is None:
        return None
    return torch.get_num_threads() * cycles * (clock.max or clock.current) * 1e6
