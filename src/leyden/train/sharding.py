"""How is a module spread over ranks that each hold a part of it? PyTorch's own FSDP2 (`fully_shard`), as a flag.

Blocks (the elements of every ModuleList) are gathered one at a time when they are needed, the rest together.
Checkpoints hold whole tensors, gathered on rank 0, so their weights are the same as those of one rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.module import Module
from leyden.train.plan import Plan

# `training_step` and its like call for the whole module as `forward` does, though torch knows only `forward`.
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


def shard_module(module: Module, plan: Plan) -> None:
    """Spread the module's parameters over all ranks, from rank 0's values. Collective; a second call does nothing."""
    if isinstance(module, FSDPModule):
        return
    if not module.automatic_optimization:
        raise ConfigurationError(
            asked='strategy="fsdp"',
            found="this Module optimizes by hand (automatic_optimization is False)",
            do='Use strategy="ddp", or automatic optimization.',
        )
    for value in module.state_dict().values():
        dist.broadcast(value, src=0)
    mesh = init_device_mesh(plan.device.type, (plan.world.size,))
    policy = MixedPrecisionPolicy()
    if plan.precision == "bf16-mixed":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in blocks(module):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)
    for name in _STEPS:
        register_fsdp_forward_method(module, name)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The parts that are gathered on their own: elements of ModuleLists that have parameters, inner ones first."""
    found = [part for one in module.modules() if isinstance(one, nn.ModuleList) for part in one]
    return [part for part in reversed(found) if any(True for _ in part.parameters())]


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard_module` has been here."""
    return isinstance(module, FSDPModule)


def exchange_now(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass exchanges gradients, or lets them add up."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(now)


def gather_weights(module: nn.Module) -> dict[str, Tensor]:
    """Whole weights on rank 0's host, nothing on the others. Collective."""
    return get_model_state_dict(module, options=_whole())  # type: ignore[return-value]


def gather_optimizer(module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state with whole tensors on rank 0's host, nothing on the others. Collective."""
    return dict(get_optimizer_state_dict(module, optimizer, options=_whole()))


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, strict: bool) -> None:
    """Every rank keeps its part of whole weights. Collective."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=strict)
    set_model_state_dict(module, dict(weights), options=options)


def load_optimizer(module: nn.Module, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Every rank keeps its part of a whole optimizer state. Collective."""
    set_optimizer_state_dict(module, optimizer, dict(state), options=_whole())


def _whole() -> StateDictOptions:
    return StateDictOptions(full_state_dict=True, cpu_offload=True)
