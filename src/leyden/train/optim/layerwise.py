"""What do optimizers share that give each parameter tensor a rate by the size of its weights and of its step?

All work is done on the parts of tensors that this rank holds; only norms are of whole tensors (for DTensors:
collective). Nothing waits for the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.checkpoints.tensorfile import local


class LayerWise(Optimizer, ABC):
    """An optimizer whose step is taken group by group, for tensors with a rate of their own and for the rest."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; with a closure, its loss is computed first and returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for adaptive, parameters in split(group):
                self._move(group, parameters, adaptive)
        return loss

    @abstractmethod
    def _move(self, group: dict[str, Any], parameters: list[Tensor], adaptive: bool) -> None:
        """Move the parameters, at rates by their sizes where `adaptive`."""


def checked(name: str, **numbers: float) -> None:
    """Raise ConfigurationError for a setting of the optimizer `name` that is below 0, or a share not below 1."""
    shares = ("momentum", "beta1", "beta2")
    for key, value in numbers.items():
        if value < 0 or (key in shares and value >= 1):
            raise ConfigurationError(
                asked=f"{name}({key}={value})",
                found="it is out of range",
                do=f"Give 0 or more{', and less than 1' if key in shares else ''}.",
            )


def split(group: dict[str, Any]) -> Iterator[tuple[bool, list[Tensor]]]:
    """(whether rates adapt, the parameters that have gradients): biases and norms are those of one dimension."""
    moved = [one for one in group["params"] if one.grad is not None]
    adapts = [one for one in moved if one.ndim > 1 or not group["exclude_1d"]]
    rest = [one for one in moved if one.ndim <= 1 and group["exclude_1d"]]
    yield from ((adaptive, some) for adaptive, some in ((True, adapts), (False, rest)) if some)


def parts_of(tensors: Iterable[Any]) -> list[Tensor]:
    """The part of each tensor that this rank holds, sharing its memory."""
    return [local(one) for one in tensors]


def norms(parts: list[Tensor], whole: Sequence[Tensor]) -> Tensor:
    """The 2-norm of each tensor of `whole`, of which `parts` are this rank's parts, in float32, shape (tensors,)."""
    own = torch.stack(torch._foreach_norm(parts, 2, dtype=torch.float32))
    spread: dict[tuple[DeviceMesh, int], list[int]] = {}
    for index, one in enumerate(whole):
        if isinstance(one, DTensor):
            for dim in (dim for dim, placement in enumerate(one.placements) if placement.is_shard()):
                spread.setdefault((one.device_mesh, dim), []).append(index)
    if not spread:
        return own
    squares = own.square()
    for (mesh, dim), indices in spread.items():
        sums = squares[indices]
        dist.all_reduce(sums, group=mesh.get_group(dim))
        squares[indices] = sums
    return squares.sqrt()


def scale(tensors: list[Tensor], factors: Tensor) -> None:
    """Multiply each tensor by its factor, which stays on the device."""
    torch._foreach_mul_(tensors, list(factors.unbind()))
