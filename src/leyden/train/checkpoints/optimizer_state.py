"""How does an optimizer's state outlive the order and the division of its parameters? By their names.

`Optimizer.state_dict` numbers parameters in the order they were given, and holds what this rank holds. In a checkpoint
every tensor has the name "<optimizer>/<key>/<parameter>", as in "0/exp_avg/net.0.weight", and can be read as a whole
or as the part of any rank, whatever strategy wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from leyden.core.errors import CheckpointError
from leyden.train.checkpoints.tensorfile import part_like


def take_apart(
    module: nn.Module, optimizers: Sequence[Optimizer], states: Sequence[dict[str, Any]]
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """(tensors by name, the rest of each state); an empty state, of a rank that holds none, gives nothing."""
    tensors: dict[str, Tensor] = {}
    rests: list[dict[str, Any]] = []
    for number, (optimizer, state) in enumerate(zip(optimizers, states, strict=True)):
        if "param_groups" not in state or "state" not in state:
            rests.append(state)  # of its own making: kept as it is
            continue
        names = dict(zip(_indices(state), _names(module, optimizer), strict=True))
        rest: dict[Any, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            name = names.get(index, index)
            rest[name] = {}
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{number}/{key}/{name}"] = value
                else:
                    rest[name][key] = value
        groups = [{**group, "params": [names[one] for one in group["params"]]} for group in state["param_groups"]]
        rests.append({**state, "state": rest, "param_groups": groups})
    return tensors, rests


def put_together(
    module: nn.Module, optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor], rests: Sequence[dict[str, Any]]
) -> None:
    """Load what `take_apart` gave, from any strategy; raises CheckpointError for another set of optimizers."""
    if len(rests) != len(optimizers):
        raise _other(f"the checkpoint's {len(rests)} optimizers", f"configure_optimizers now returns {len(optimizers)}")
    stored: dict[str, dict[str, list[str]]] = {}
    for full in tensors:
        owner, key, name = full.split("/", 2)
        stored.setdefault(owner, {}).setdefault(name, []).append(key)
    for number, (optimizer, rest) in enumerate(zip(optimizers, rests, strict=True)):
        if "param_groups" not in rest or "state" not in rest:
            optimizer.load_state_dict(rest)
            continue
        own = optimizer.state_dict()
        names, indices = _names(module, optimizer), _indices(own)
        _check(number, names, rest, own)
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        mine = stored.get(str(number), {})
        state: dict[Any, dict[str, Any]] = {}
        for index, name, parameter in zip(indices, names, parameters, strict=True):
            if name in rest["state"] or name in mine:
                state[index] = dict(rest["state"].get(name, {})) | {
                    key: _like(tensors, f"{number}/{key}/{name}", parameter) for key in mine.get(name, ())
                }
        groups = [
            {**saved, "params": now["params"]}
            for saved, now in zip(rest["param_groups"], own["param_groups"], strict=True)
        ]
        optimizer.load_state_dict({**rest, "state": state, "param_groups": groups})


def _names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """The names of the optimizer's parameters in its order; "#3" for the fourth, if the module does not know it."""
    known: dict[int, str] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        known.setdefault(id(value), name)
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    return [known.get(id(one), f"#{place}") for place, one in enumerate(parameters)]


def _indices(state: Mapping[str, Any]) -> list[Any]:
    return [index for group in state["param_groups"] for index in group["params"]]


def _like(tensors: Mapping[str, Tensor], name: str, parameter: Tensor) -> Tensor:
    """The tensor divided as the parameter is and laid out as it is in memory."""
    value = part_like(tensors, name, parameter)
    if isinstance(value, DTensor) or value.shape != parameter.shape or parameter.is_contiguous():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _check(number: int, names: Sequence[str], rest: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    saved = [name for group in rest["param_groups"] for name in group["params"]]
    if len(rest["param_groups"]) != len(own["param_groups"]):
        raise _other(
            f"the checkpoint's optimizer {number} has {len(rest['param_groups'])} groups of parameters",
            f"it now has {len(own['param_groups'])}",
        )
    if sorted(saved) != sorted(names):
        strange = sorted(set(saved) ^ set(names))
        raise _other(
            f"the checkpoint's optimizer {number} has {len(saved)} parameters",
            f"it now has {len(names)}; only one of them has {', '.join(strange[:5])}",
        )
    if "rounding" in rest and "rounding" not in own:
        raise CheckpointError(
            asked=f'the checkpoint\'s optimizer {number} was written under strategy="offload", with 8-bit moments',
            found="this training is not under it",
            do='Use strategy="offload", or load only its weights.',
        )


def _other(asked: str, found: str) -> CheckpointError:
    do = "Return what the run that wrote it returned, or load only its weights."
    return CheckpointError(asked=asked, found=found, do=do)
