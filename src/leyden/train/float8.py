"""How does `precision="float8-mixed"` multiply matrices in 8 bits? torchao's layers in place of `nn.Linear`."""

from __future__ import annotations

import torch
from torch import nn

from leyden.core.errors import ConfigurationError

_TILE = 16  # float8 matrix products take sizes in multiples of it


def use_float8(module: nn.Module, device: torch.device) -> int:
    """Put a float8 layer in place of every Linear whose sizes allow it; returns how many there are now.

    Inputs, weights and gradients are scaled one tensor at a time as they come, multiplied in float8 and summed in
    higher precision; weights and their names stay as they are. Raises ConfigurationError where torchao is missing, the
    GPU has no float8, or no layer fits. Source: Micikevicius et al. 2022, "FP8 formats for deep learning".
    """
    try:
        from torchao.float8 import convert_to_float8_training
        from torchao.float8.float8_linear import Float8Linear
    except ImportError:
        raise ConfigurationError(
            asked='precision="float8-mixed"', found="torchao is not installed", do="pip install 'leyden[float8]'"
        ) from None
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        raise ConfigurationError(
            asked='precision="float8-mixed"',
            found=f"{torch.cuda.get_device_name(device)} multiplies no float8",
            do='Use precision="bf16-mixed", or a GPU from Ada or Hopper on.',
        )

    def fits(layer: nn.Module, name: str) -> bool:
        if type(layer) is not nn.Linear:
            return False
        return layer.in_features % _TILE == 0 and layer.out_features % _TILE == 0

    convert_to_float8_training(module, module_filter_fn=fits)
    count = sum(isinstance(one, Float8Linear) for one in module.modules())
    if count == 0:
        raise ConfigurationError(
            asked='precision="float8-mixed"',
            found=f"{type(module).__name__} has no Linear layer whose sizes are multiples of {_TILE}",
            do='Use precision="bf16-mixed", or widths in multiples of 16.',
        )
    return count
