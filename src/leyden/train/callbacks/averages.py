"""How are averages of a module's weights kept beside it, put in its place for a while, and saved?"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate

from leyden.core.errors import ConfigurationError
from leyden.train.checkpoints.tensorfile import local

if TYPE_CHECKING:
    from leyden.train.trainer import Trainer

MultiAverage = Callable[[Sequence[Tensor], Sequence[Tensor], int], None]
"""(averages, weights, how many were averaged before): brings the weights into the averages, in place."""


class Averages:
    """The averages of one module. Empty until the first `update`, which takes the weights as they are.

    16-bit weights are averaged in 32 bits: a share of 0.001 is less than bfloat16 can add to a number (2⁻⁸ of it).
    Numbers that are no floats (counters) are copied. A checkpoint gets the averages (`give`), so that who loads its
    weights gets what was validated; `state` keeps the others.
    """

    def __init__(self, module: nn.Module, average: MultiAverage, *, device: Any = None, buffers: bool = True) -> None:
        self._module, self._average, self._device, self._buffers = module, average, device, buffers
        self._values: dict[str, Tensor] = {}
        self._aside: dict[str, Tensor] = {}  # the module's own weights, while it holds the averages
        self._gathered: dict[str, Tensor] = {}  # whole averages of sharded weights, between `state` and `give`
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Bring the module's weights into the averages."""
        weights = self._weights()
        if self.count == 0:
            self._values = {name: self._widened(one) for name, one in weights.items()}
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, value in self._values.items():
            weight = weights[name].detach()
            if value.is_floating_point() and (self._buffers or isinstance(weights[name], nn.Parameter)):
                averaged.append(local(value))
                current.append(local(weight).to(value.device, value.dtype))
            else:
                value.copy_(weight)
        if self.count and averaged:
            self._average(averaged, current, self.count)
        self.count += 1

    @torch.no_grad()
    def put_in(self) -> None:
        """The module holds the averages from now on; its own weights wait."""
        if self.count and not self._aside:
            for name, weight in self._weights().items():
                self._aside[name] = weight.detach().clone()
                weight.copy_(self._values[name])

    @torch.no_grad()
    def take_out(self) -> None:
        """The module has its own weights again."""
        weights = self._weights() if self._aside else {}
        for name, own in self._aside.items():
            weights[name].copy_(own)
        self._aside = {}

    def give(self, weights: dict[str, Tensor]) -> None:
        """Put the averages in the place of a checkpoint's weights; of sharded ones, those `state` has gathered."""
        gathered, self._gathered = self._gathered, {}
        if self.count == 0:
            return
        own = self._weights()
        if any(isinstance(one, DTensor) for one in own.values()) and not gathered:
            warnings.warn("weights are saved, not their averages, which only a full checkpoint gathers", stacklevel=2)
            return
        given = {id(one): gathered[name] if gathered else _whole(self._values[name], one) for name, one in own.items()}
        for name, one in self._module.state_dict(keep_vars=True).items():
            if id(one) in given:  # tied weights are one tensor under several names, and so is their average
                weights[name] = given[id(one)]

    def state(self, *, given: bool) -> dict[str, Any]:
        """What a checkpoint must keep besides the module's weights, which are the averages where they are `given`.

        Sharded tensors are gathered on rank 0: collective.
        """
        weights = self._weights()
        own = self._aside or (weights if given and self.count else {})
        averages = {name: one for name, one in self._values.items() if not given or one.dtype != weights[name].dtype}
        if given and any(isinstance(one, DTensor) for one in self._values.values()):
            self._gathered = {name: _whole(one, weights[name]) for name, one in self._values.items()}
        copies = [{name: _whole(one) for name, one in tensors.items()} for tensors in (own, averages)]
        return {"count": self.count, "own": copies[0], "averages": copies[1]}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state, for a module that has loaded the weights saved with it."""
        self.count = state["count"]
        if self.count:
            weights = self._weights()
            self._values = {name: self._widened(one) for name, one in weights.items()}
            for name, average in state["averages"].items():
                _fill(self._values[name], average)
            for name, own in state["own"].items():
                _fill(weights[name], own)

    def parts(self) -> tuple[int, dict[str, Tensor]]:
        """What `put_back` needs, on the host: how many were averaged, and this rank's part of the averages."""
        return self.count, {name: local(one).to("cpu", copy=True) for name, one in self._values.items()}

    @torch.no_grad()
    def put_back(self, parts: tuple[int, dict[str, Tensor]]) -> None:
        """The averages as they were when `parts` was asked."""
        self.count, before = parts
        self._values = {name: one for name, one in self._values.items() if name in before}
        for name, one in before.items():
            local(self._values[name]).copy_(one)

    def close(self) -> None:
        """Leave the module as it is, and let go of everything else."""
        self._values, self._aside = {}, {}

    def _weights(self) -> dict[str, Tensor]:
        """Parameters and saved buffers, each once, under the first of its names."""
        found = self._module.state_dict(keep_vars=True)
        unique: dict[int, tuple[str, Tensor]] = {}
        for name, one in found.items():
            if isinstance(one, Tensor) and not name.endswith("_extra_state"):
                unique.setdefault(id(one), (name, one))
        return dict(unique.values())

    def _widened(self, weight: Tensor) -> Tensor:
        dtype = torch.promote_types(weight.dtype, torch.float32) if weight.is_floating_point() else weight.dtype
        return weight.detach().to(self._device or weight.device, dtype, copy=True)


def check_sharding(trainer: Trainer, who: str, device: Any) -> None:
    """Raise ConfigurationError for sharded weights whose averages could not be saved, or lie elsewhere."""
    strategy = trainer.plan.strategy
    parted = getattr(getattr(strategy, "fsdp", strategy), "state_dict", "full") == "sharded"
    if trainer.plan.sharded and (parted or device is not None):
        raise ConfigurationError(
            asked=f"{who} with {'sharded checkpoints' if parted else f'device={device!r}'} of a divided module",
            found="averages are divided as the weights are, and saved whole",
            do='Use FSDP(state_dict="full").' if parted else "Leave out device.",
        )


def _whole(value: Tensor, like: Tensor | None = None) -> Tensor:
    """A copy on the host, in the precision of `like`; a sharded tensor is gathered on rank 0, empty on the others."""
    whole = value.detach()
    if isinstance(whole, DTensor):
        whole = whole.full_tensor()
        whole = whole if dist.get_rank() == 0 else whole.new_empty(0)
    return whole.to("cpu", value.dtype if like is None else like.dtype, copy=True)


def _fill(value: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor, or this rank's part of it."""
    if isinstance(value, DTensor):
        mesh = value.device_mesh
        every = DTensor.from_local(whole.to(value.device), mesh, [Replicate()] * mesh.ndim, run_check=False)
        whole = every.redistribute(placements=value.placements)
    value.copy_(whole)
