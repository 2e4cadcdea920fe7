"""How does `strategy="offload"` take over a module and its optimizer, and give them back?"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from leyden.core.errors import ConfigurationError
from leyden.core.units import parse_size
from leyden.train.module import Module, overrides
from leyden.train.offload import budget
from leyden.train.offload.adam import OffloadedAdam
from leyden.train.offload.lanes import lanes_for, memory_of
from leyden.train.offload.moments import EightBit, Exact
from leyden.train.offload.weights import Weights
from leyden.train.plan import DefaultDtype, Plan
from leyden.train.strategies import Offload

if TYPE_CHECKING:
    from leyden.train.optimizers import Optimization

_CHUNK = {"cuda": 1 << 16}  # rows of 256: 34 MB of moments staged at a time, 64 MiB for each of a few float32 copies
_CHUNK_CPU = 256  # 64 Ki parameters: all of a chunk's copies stay in a core's cache
_settled: weakref.WeakKeyDictionary[nn.Module, tuple[Offload, torch.device, Weights]] = weakref.WeakKeyDictionary()
_stepping: weakref.WeakKeyDictionary[nn.Module, OffloadedAdam] = weakref.WeakKeyDictionary()


def settle(module: Module, plan: Plan) -> None:
    """Bring every weight to its place for `plan.strategy`, an Offload; a second call changes nothing, unless
    the module has got other parameters.

    Raises ConfigurationError for what does not go together with it.
    """
    strategy = _options(plan)
    if plan.compile:
        _refuse(f"compile={plan.compile!r}", "weights come and go while blocks run", "Set compile=False.")
    _place_buffers(module, plan.device, plan.dtype)
    if module in _settled:
        *before, weights = _settled[module]
        known = {one for unit in weights.units for one in unit.parameters}
        if before == [strategy, plan.device] and known.issuperset(module.parameters()):
            weights.go_home()
            return
        release(module)
    given = strategy.device_memory
    space = budget.DEFAULT_SHARE * memory_of(plan.device) if given is None else parse_size(given)
    rows = (Exact.row_bytes if strategy.exact else EightBit.row_bytes) * _chunk(plan.device)
    weights = Weights(
        module,
        lanes_for(plan.device, rows),
        dtype=None if strategy.exact else torch.bfloat16,
        device_bytes=space,
        recompute=bool(strategy.activation_checkpointing),
        inside=DefaultDtype(plan.dtype) if plan.dtype else nullcontext(),
    )
    _settled[module] = strategy, plan.device, weights


def take_over(module: Module, optimization: Optimization, plan: Plan) -> Optimization:
    """The optimization with the optimizer's steps taken inside the backward pass; raises ConfigurationError."""
    strategy = _options(plan)
    _check_steps(module, plan)
    optimizer = _check_optimizer(optimization.optimizers)
    let_go(module)
    device = plan.device
    _stepping[module] = offloaded = OffloadedAdam(
        optimizer,
        _settled[module][-1],
        moments=Exact() if strategy.exact else EightBit.on(device),
        chunk=_chunk(device),
        clip=_clipping(plan.gradient_clip_val, plan.gradient_clip_algorithm),
        seed=torch.initial_seed() % 2**62,
    )
    return replace(optimization, optimizers=(offloaded,))


def let_go(module: nn.Module) -> None:
    """Training is over: backward passes step no more."""
    if module in _stepping:
        _stepping.pop(module).let_go()


def release(module: nn.Module) -> None:
    """Undo `settle`: blocks compute as they were written; the weights stay where their home is."""
    if module in _settled:
        _settled.pop(module)[-1].release()


def check_loss(loss: Tensor) -> None:
    """Raise before a backward pass that would put NaN or infinity into weights; `Offload(check_loss=True)` calls it."""
    if not torch.isfinite(loss):
        _refuse(
            "a step",
            f"the loss is {loss.item()}; no weight has been changed by it",
            "Go on from the last checkpoint with a lower learning rate, or without this batch.",
        )


def _options(plan: Plan) -> Offload:
    assert isinstance(plan.strategy, Offload)
    return plan.strategy


def _chunk(device: torch.device) -> int:
    return _CHUNK.get(device.type, _CHUNK_CPU)


def _check_steps(module: Module, plan: Plan) -> None:
    bound, by_norm = plan.gradient_clip_val, plan.gradient_clip_algorithm == "norm"
    if not module.automatic_optimization:
        _refuse(
            "a Module that optimizes by hand (automatic_optimization is False)",
            "steps are taken inside of loss.backward()",
            "Let the Trainer optimize, or use strategy=FSDP(cpu_offload=True).",
        )
    if plan.accumulate_grad_batches != 1 or plan.accumulate_by != "batches":
        _refuse(
            f"accumulate_grad_batches={plan.accumulate_grad_batches!r}, accumulate_by={plan.accumulate_by!r}",
            "every backward pass is a step, whose gradients are gone when it ends",
            "Set accumulate_grad_batches=1 and raise batch_size: only one block's activations are kept.",
        )
    if bound is not None and by_norm and not _options(plan).clip_each_block:
        _refuse(
            f"gradient_clip_val={bound}",
            "the norm of all gradients is known only when the first blocks' steps would have to be taken back",
            "Use Offload(clip_each_block=True), which bounds each block's norm, or gradient_clip_algorithm='value'.",
        )
    if overrides(module, "configure_gradient_clipping"):
        _refuse(
            f"{type(module).__name__}.configure_gradient_clipping",
            "there are no gradients left when it is called",
            "Remove it, and see Offload(clip_each_block=True).",
        )


def _check_optimizer(optimizers: tuple[Optimizer, ...]) -> Adam:
    if len(optimizers) != 1 or not isinstance(optimizers[0], Adam):
        names = ", ".join(type(one).__name__ for one in optimizers)
        _refuse(
            f"optimizer {names}", "its steps cannot be taken block by block", "Return one torch.optim.AdamW or Adam."
        )
    optimizer = optimizers[0]
    for option in ("amsgrad", "maximize", "differentiable"):
        if any(group[option] for group in optimizer.param_groups):
            _refuse(f"{type(optimizer).__name__}({option}=True)", "it is not built", f"Leave {option}=False.")
    assert isinstance(optimizer, Adam)
    return optimizer


def _clipping(bound: float | None, algorithm: str) -> Callable[[list[Tensor]], None] | None:
    if bound is None:
        return None

    def clip_values(gradients: list[Tensor]) -> None:
        torch._foreach_clamp_min_(gradients, -bound)
        torch._foreach_clamp_max_(gradients, bound)

    def clip_norm(gradients: list[Tensor]) -> None:
        """As `torch.nn.utils.clip_grad_norm_` for these gradients alone, the norm in float32."""
        norm = torch.stack(torch._foreach_norm(gradients, 2, torch.float32)).norm()
        torch._foreach_mul_(gradients, (bound / (norm + 1e-6)).clamp(max=1.0))

    return clip_values if algorithm == "value" else clip_norm


def _place_buffers(module: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Everything but parameters to the device: buffers, and whole submodules without parameters (metrics, say)."""
    for key, value in module._buffers.items():
        if value is not None and not value.is_meta:
            module._buffers[key] = value.to(device, dtype if value.is_floating_point() else None)
    for child in module.children():
        if any(True for _ in child.parameters()):
            _place_buffers(child, device, dtype)
        elif not any(one.is_meta for one in child.buffers()):
            child.to(device=device, dtype=dtype)


def _refuse(asked: str, found: str, do: str) -> Any:
    raise ConfigurationError(asked=f'{asked} under strategy="offload"', found=found, do=do)
