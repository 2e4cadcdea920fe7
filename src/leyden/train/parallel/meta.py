"""How does a module that was built on "meta", without memory, come to hold numbers?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leyden.core.errors import ConfigurationError


def materialise(module: nn.Module, device: torch.device) -> None:
    """Give memory on the device to every tensor on "meta", filled by its owner's `reset_parameters`.

    Submodules without tensors on "meta" are left alone. Raises ConfigurationError where an owner has no such method.
    """
    made: dict[int, Tensor] = {}  # tied parameters stay one
    for name, owner in module.named_modules():
        found = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        bare = [(own, value) for own, value in found if value.is_meta]
        if not bare:
            continue
        reset = getattr(owner, "reset_parameters", None) or getattr(owner, "_reset_parameters", None)
        if reset is None:
            raise ConfigurationError(
                asked=f"{name or type(module).__name__}.{bare[0][0]} was built on the meta device",
                found=f"{type(owner).__name__} has no reset_parameters to fill it",
                do="Write reset_parameters, which sets all its parameters and buffers, or build it outside of meta.",
            )
        for own, value in bare:
            if id(value) not in made:
                made[id(value)] = _real(value, device)
            setattr(owner, own, made[id(value)])
        reset()


def _real(value: Tensor, device: torch.device) -> Tensor:
    empty = torch.empty_like(value, device=device)
    return nn.Parameter(empty, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else empty
