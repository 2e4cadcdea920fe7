"""How is a module spread over ranks that each hold a part of it? PyTorch's own FSDP2 (`fully_shard`) and DTensor.

Parts (see `wrapping`) are gathered one at a time when they are needed, the rest together. Under tensor parallelism a
layer's weights are divided over one more dimension, whose ranks compute the layer together. State is gathered tensor
by tensor, so whole checkpoints look as those of one rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from torch.optim import LBFGS, Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train import rng
from leyden.train.module import Module
from leyden.train.offload.setup import release, settle
from leyden.train.parallel import tensor_parallel, wrapping
from leyden.train.parallel.meta import materialise
from leyden.train.plan import Plan
from leyden.train.strategies import FSDP, Offload, TensorParallel

# `training_step` and its like call for the whole module as `forward` does, though torch knows only `forward`.
_STEPS = ("training_step", "validation_step", "test_step", "predict_step")
_MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def place(module: Module, plan: Plan) -> None:
    """Bring the module to its device or devices, as the strategy wants it. Collective; a second call does nothing."""
    if is_sharded(module):
        if not plan.sharded:
            raise ConfigurationError(
                asked=f"strategy={plan.strategy.name!r} over {plan.world.size} ranks",
                found="this Module has been divided over ranks by another strategy before",
                do="Build it anew, or keep the strategy.",
            )
        return
    if isinstance(plan.strategy, Offload):
        settle(module, plan)
        return
    release(module)
    module.to(dtype=plan.dtype)
    wrapping.recompute(module, plan.strategy.activation_checkpointing)
    if plan.sharded:
        _shard(module, plan)
    else:
        materialise(module, plan.device)
        module.to(device=plan.device)


def attach(module: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Let these optimizers step a sharded module; raises ConfigurationError where they, or it, cannot be trained so.

    PyTorch keeps the outermost module's own weights gathered until a backward pass. Where a hook has called the module
    since, they are let go after the step: they have changed.
    """
    for one in optimizers:
        if isinstance(module, FSDPModule):
            one.register_step_post_hook(lambda *_: module.reshard())
        if isinstance(one, LBFGS):
            raise ConfigurationError(
                asked="LBFGS trains a module that is divided over ranks",
                found="it needs all weights and gradients in one vector",
                do='Use strategy="ddp", or another optimizer.',
            )
    for name, one in module.named_modules():
        # SyncBatchNorm is one too, and keeps the same statistics on all ranks.
        if isinstance(one, nn.modules.batchnorm._BatchNorm) and not isinstance(one, nn.SyncBatchNorm):
            raise ConfigurationError(
                asked=f"{name} ({type(one).__name__}) is to be trained by a strategy that divides the module",
                found="every rank would keep other running statistics, and a checkpoint only those of rank 0",
                do='Set sync_batchnorm=True (on GPUs), or use strategy="ddp", or GroupNorm.',
            )


def is_sharded(module: nn.Module) -> bool:
    """Whether `place` has divided it."""
    return any(isinstance(one, FSDPModule) for one in module.modules())


def reshard(module: nn.Module) -> None:
    """Let go of weights left gathered, by an evaluation: until then `parameters()` gives those, not this rank's."""
    for one in module.modules():
        if isinstance(one, FSDPModule):
            one.reshard()


def exchange_now(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass exchanges gradients, or lets them add up."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(now)


@torch.no_grad()
def clip_norm(parameters: Iterable[nn.Parameter], bound: float) -> Tensor:
    """Scale gradients down to a joint 2-norm of `bound` over all ranks; returns the norm before. Collective.

    Every rank adds the squares of what it holds, divided by how many ranks hold the same, in one all-reduce: parts may
    lie on different meshes, whose norms PyTorch would reduce one by one and then not add.
    """
    parameters = list(parameters)
    if not isinstance(parameters[0], DTensor):
        return nn.utils.clip_grad_norm_(parameters, bound)
    gradients = [one.grad for one in parameters if one.grad is not None]
    local = [one.to_local() if isinstance(one, DTensor) else one for one in gradients]
    if not local:
        return torch.zeros(())
    norms = torch.stack(torch._foreach_norm(local, 2, torch.promote_types(local[0].dtype, torch.float32)))
    holders = torch.tensor([_holders(one) for one in gradients], device=norms.device)
    total = (norms.square() / holders).sum()
    dist.all_reduce(total)
    norm = total.sqrt()
    torch._foreach_mul_(local, torch.clamp(bound / (norm + 1e-6), max=1.0))
    return norm


def gather_weights(module: nn.Module) -> dict[str, Tensor]:
    """Whole weights on rank 0's host, nothing on the others; tied ones stay one tensor. Collective."""
    whole: dict[int, Tensor] = {}
    weights = module.state_dict(keep_vars=True)
    for value in weights.values():
        if id(value) not in whole:
            whole[id(value)] = _gather(value)
    first = dist.get_rank() == 0
    return {name: whole[id(value)] for name, value in weights.items()} if first else {}


def gather_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """What `optimizer.state_dict()` of one rank would be, on rank 0's host; empty on the others. Collective."""
    state = optimizer.state_dict()
    parts = {
        index: {key: _gather(value) if isinstance(value, Tensor) else value for key, value in one.items()}
        for index, one in state["state"].items()
    }
    return {**state, "state": parts} if dist.get_rank() == 0 else {}


def _shard(module: Module, plan: Plan) -> None:
    strategy = plan.strategy
    together = strategy if isinstance(strategy, TensorParallel) else None
    fsdp = together.fsdp if together else strategy
    assert isinstance(fsdp, FSDP)
    data, group = _meshes(plan, fsdp)
    roots = _roots(module)
    parts = wrapping.untied(module, [*dict.fromkeys([*wrapping.find(module, fsdp.wrap), *roots])])
    _check_roots(module, roots, parts)
    chosen: tensor_parallel.Styles = {}
    if together and group is not None:
        rng.restore(plan.world.gather(rng.capture())[plan.data_rank * together.size])  # dropout alike where whole
        chosen = tensor_parallel.styles(module, together)
        if callable(together.plan):
            _make_equal(module, plan.device)
            together.plan(module, group)
    offload = CPUOffloadPolicy(pin_memory=plan.device.type == "cuda") if fsdp.cpu_offload else OffloadPolicy()
    for part in parts:
        _make_equal(part, plan.device)
        if group is not None:
            tensor_parallel.parallelize(part.modules(), chosen, group)
        fully_shard(
            part,
            mesh=data,
            # PyTorch keeps what it calls the root gathered until backward. By hand, backward may leave a network out.
            reshard_after_forward=None if part is module else part in roots or fsdp.reshard_after_forward,
            mp_policy=_policy(plan.precision, inputs=part is not module),
            offload_policy=offload,
        )
    if isinstance(module, FSDPModule):
        for name in _STEPS:
            register_fsdp_forward_method(module, name)


def _meshes(plan: Plan, fsdp: FSDP) -> tuple[DeviceMesh, DeviceMesh | None]:
    """The ranks that divide each tensor (copies of it in front, if any), and those that compute a layer together."""
    size = plan.strategy.ranks_per_batch
    sizes = {"replicate": fsdp.replicate, "shard": plan.data_size // fsdp.replicate, "layer": size}
    used = [name for name in sizes if name == "shard" or sizes[name] > 1]
    mesh = init_device_mesh(plan.device.type, tuple(sizes[name] for name in used), mesh_dim_names=tuple(used))
    data = tuple(name for name in used if name != "layer")
    return (mesh if len(data) == len(used) else mesh[data]), (mesh["layer"] if size > 1 else None)


def _roots(module: Module) -> list[nn.Module]:
    """Where a forward pass begins: in the module's own steps, or, optimized by hand, in each of its networks."""
    if module.automatic_optimization:
        return [module]
    roots: list[nn.Module] = []
    above: list[nn.Module] = [module]
    while above:
        for one in above.pop().children():
            if isinstance(one, nn.ModuleList | nn.ModuleDict):
                above.append(one)
            elif any(True for _ in one.parameters()):
                roots.append(one)
    return roots


def _check_roots(module: Module, roots: list[nn.Module], parts: list[nn.Module]) -> None:
    """By hand, backward runs inside of `training_step`, so the module itself cannot be gathered around it."""
    if module in roots:
        return
    own = [name for name, _ in module.named_parameters(recurse=False)]
    torn = [name for name, one in module.named_modules() if one in roots and one not in parts]
    if own or torn:
        raise ConfigurationError(
            asked=f"{type(module).__name__} optimizes by hand and is to be divided over ranks",
            found=f"it holds {', '.join(own)} itself" if own else f"its networks {', '.join(torn)} share parameters",
            do='Put each network and its parameters into a submodule of its own, or use strategy="ddp".',
        )


def _policy(precision: str, *, inputs: bool) -> MixedPrecisionPolicy:
    """Weights are sent as 16 bits and gradients added up in 32. A batch is left to autocast: its targets stay exact."""
    if precision not in _MIXED:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=_MIXED[precision], reduce_dtype=torch.float32, cast_forward_inputs=inputs)


def _make_equal(part: nn.Module, device: torch.device) -> None:
    """Rank 0's numbers on every rank, on the device, for all that is not divided yet. Collective."""
    materialise(part, device)
    for value in (*part.parameters(), *part.buffers()):
        if not isinstance(value, DTensor):
            value.data = value.data.to(device).contiguous()
            dist.broadcast(value.data, src=0)


def _holders(gradient: Tensor) -> float:
    """How many ranks hold each of its numbers."""
    world = dist.get_world_size()
    if not isinstance(gradient, DTensor):
        return float(world)
    mesh = gradient.device_mesh
    copies = (mesh.size(dim) for dim, placement in enumerate(gradient.placements) if placement.is_replicate())
    return float(world // mesh.size() * math.prod(copies))


def _gather(value: Tensor) -> Tensor:
    """The whole tensor on rank 0's host; the others get one without numbers. Collective."""
    whole = value.detach()
    if isinstance(whole, DTensor):
        whole = whole.full_tensor()
    if dist.get_rank() != 0:
        return whole.new_empty(0)
    return torch.empty_like(whole, device="cpu").copy_(whole)
