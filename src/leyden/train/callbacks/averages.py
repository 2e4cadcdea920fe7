"""How are averages of a module's weights kept beside it, put in its place for a while, and saved?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leyden.core.errors import ConfigurationError

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
                averaged.append(value)
                current.append(weight.to(value.device, value.dtype))
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
        """Put the averages in the place of a checkpoint's weights."""
        if self.count:
            given = {
                id(one): self._values[name].to("cpu", one.dtype, copy=True) for name, one in self._weights().items()
            }
            for name, one in self._module.state_dict(keep_vars=True).items():
                if id(one) in given:  # tied weights are one tensor under several names, and so is their average
                    weights[name] = given[id(one)]

    def state(self, *, given: bool) -> dict[str, Any]:
        """What a checkpoint must keep besides the module's weights, which are the averages where they are `given`."""
        weights = self._weights()
        own = self._aside or (weights if given and self.count else {})
        averages = {name: one for name, one in self._values.items() if not given or one.dtype != weights[name].dtype}
        return {"count": self.count, "own": _copies(own), "averages": _copies(averages)}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state, for a module that has loaded the weights saved with it."""
        self.count = state["count"]
        if self.count:
            weights = self._weights()
            self._values = {name: self._widened(one) for name, one in weights.items()}
            for name, average in state["averages"].items():
                self._values[name].copy_(average)
            for name, own in state["own"].items():
                weights[name].copy_(own)

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


def need_whole_weights(trainer: Trainer, who: str) -> None:
    """Raise ConfigurationError where each rank holds only a part of the weights."""
    if trainer.plan.sharded:
        raise ConfigurationError(
            asked=f'{who} with strategy="fsdp"',
            found="each rank holds only a part of the weights",
            do='Use strategy="ddp", or leave it out.',
        )


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().to("cpu", copy=True) for name, one in tensors.items()}
