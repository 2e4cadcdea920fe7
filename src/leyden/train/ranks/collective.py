"""How do tensors of all ranks come together for the user? `Module.all_gather`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from leyden.train.ranks.world import World


def all_gather(data: Any, world: World, device: torch.device, group: Any = None, sync_grads: bool = False) -> Any:
    """Every rank's tensors and numbers, stacked along a new first axis, in the same containers; alone, the data itself.

    Shapes must agree over ranks. `sync_grads` lets gradients flow back to the rank each part came from. Collective.
    """
    if world.size == 1:
        return data
    if isinstance(data, Tensor | int | float):
        tensor = torch.as_tensor(data, device=device)
        if sync_grads:
            from torch.distributed.nn.functional import all_gather as gather_with_grads

            return torch.stack(gather_with_grads(tensor, group))  # type: ignore[no-untyped-call]
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.detach().contiguous(), group)
        return torch.stack(parts)
    if isinstance(data, Mapping):
        return {key: all_gather(value, world, device, group, sync_grads) for key, value in data.items()}
    return type(data)(all_gather(value, world, device, group, sync_grads) for value in data)
