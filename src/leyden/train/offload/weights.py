"""Where do the weights lie, and how do those that lie on the host reach the device in time?

A module's blocks (`wrapping.blocks`) are units. Weights of a unit that does not stay on the device rest in
one stretch of host memory; before the block computes, in the forward pass or when the backward pass computes it again,
they are there, and the next unit's are on their way. Between steps every weight is at home, so whoever reads or
changes weights then (checkpoints, callbacks) needs to know nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from leyden.core.errors import ConfigurationError
from leyden.train.offload import budget
from leyden.train.offload.lanes import Lanes, free_on_host
from leyden.train.parallel import wrapping
from leyden.train.parallel.meta import materialise


@dataclass(eq=False, kw_only=True)
class Unit:
    """A block's own parameters, of which each place (module, name) holds one. `home` is their memory on the host; None
    for a unit that stays on the device."""

    name: str
    block: nn.Module | None
    places: list[tuple[nn.Module, str]]
    parameters: list[nn.Parameter] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # in bytes
    home: Tensor | None = None
    coming: tuple[Tensor, Callable[[], None]] | None = None
    there: Tensor | None = None
    trained: list[nn.Parameter] = field(default_factory=list)
    open: bool = False  # its gradients are not complete: it cannot leave

    def point_to(self, memory: Tensor, dtypes: Sequence[torch.dtype] | None = None) -> None:
        """Let the parameters' values be those in this memory, laid out as `home` is."""
        dtypes = dtypes or [one.dtype for one in self.parameters]
        for one, stretch, dtype in zip(self.parameters, torch.split(memory, self.sizes), dtypes, strict=True):
            one.data = stretch.view(dtype)[: one.numel()].view(one.shape)


class Weights:
    """A module's weights, settled: each has a home, and a way to the device where it needs one."""

    def __init__(
        self,
        module: nn.Module,
        lanes: Lanes,
        *,
        dtype: torch.dtype | None,
        device_bytes: float,
        recompute: bool,
        inside: AbstractContextManager[Any],
    ) -> None:
        self.lanes, self._dtype, self._inside = lanes, dtype, inside
        self.units = units_of(module)
        self._next: Unit | None = None
        self._used: list[Unit] = []
        *blocks, rest = [self._measure(unit) for unit in self.units]
        stays = (*budget.place(blocks, rest, device_bytes), True)
        if not (all(stays) or recompute):
            raise ConfigurationError(
                asked="Offload(activation_checkpointing=False)",
                found=f"{stays.count(False)} of {len(blocks)} blocks do not fit on the device, so their weights leave "
                "it between the forward and the backward pass",
                do="Leave activation_checkpointing=True, or raise Offload(device_memory=…).",
            )
        gone = [sum(unit.sizes) for unit, resident in zip(self.units, stays, strict=True) if not resident]
        budget.check_host(sum(gone), free_on_host())
        self._fill_tied(module)
        for unit, resident in zip(self.units, stays, strict=True):
            self._settle(unit, module, resident)
            if unit.block is not None and recompute:
                self._wrap(unit, unit.block)

    def release(self) -> None:
        """Give the blocks their own forward back; weights stay where their home is."""
        self.go_home()
        for unit in self.units:
            if unit.block is not None:
                unit.block.__dict__.pop("forward", None)

    def use(self, unit: Unit, *, backward: bool) -> None:
        """Before the unit computes: its weights are on the device; those before it leave, the next ones set out."""
        with torch.inference_mode(False):  # what evaluation brings, training may still read
            for other in [one for one in self._used if one is not unit and not one.open]:
                self._leave(other)
            if unit.home is not None:
                self._arrive(unit)
                unit.open = backward and any(one.requires_grad for one in unit.trained)
            self._set_out(self._following(unit, -1 if backward else 1))

    def done(self, unit: Unit) -> None:
        """The unit's weights have been changed for this step: they are sent home, and may leave."""
        if unit.there is not None and unit.home is not None:
            self.lanes.send(unit.there, unit.home)
        unit.open = False

    def go_home(self) -> None:
        """Every weight's values are those of its home, and nothing is on its way."""
        with torch.inference_mode(False):
            self._set_out(None)
            for unit in list(self._used):
                self._leave(unit)
        self.lanes.finish()

    def _measure(self, unit: Unit) -> int:
        """Bytes of a unit's weights as they will be kept; each begins at a multiple of 16."""
        for owner, name in unit.places:
            one = getattr(owner, name)
            unit.sizes.append(-(-one.numel() * self._kept(one).itemsize // 16) * 16)
        return sum(unit.sizes)

    def _kept(self, parameter: Tensor) -> torch.dtype:
        return self._dtype if self._dtype is not None and parameter.is_floating_point() else parameter.dtype

    def _settle(self, unit: Unit, module: nn.Module, resident: bool) -> None:
        """Make the unit's weights if they are on "meta", and bring them home."""
        self._fill(unit.block or module)
        unit.parameters = [getattr(owner, name) for owner, name in unit.places]
        if not resident:
            unit.home = self.lanes.host(sum(unit.sizes))
        values = [one.data for one in unit.parameters]
        if unit.home is not None:
            unit.point_to(unit.home, [self._kept(one) for one in values])
        for one, value in zip(unit.parameters, values, strict=True):
            one.grad = None
            if unit.home is None:
                one.data = value.to(self.lanes.device, self._kept(value)).contiguous()
            else:
                one.data.copy_(value)

    def _fill(self, part: nn.Module) -> None:
        """Give parameters on "meta" memory on the device, and their first values."""
        bare = [one for one in part.parameters() if one.is_meta]
        for one in bare:
            one.data = one.data.to(self._kept(one))
        if bare:
            materialise(part, self.lanes.device)

    def _fill_tied(self, module: nn.Module) -> None:
        """Where a tensor on "meta" is in a block and outside, fill all at once: block by block it would become two."""
        outside = {getattr(owner, name) for owner, name in self.units[-1].places}
        if any(one.is_meta and one in outside for unit in self.units if unit.block for one in unit.block.parameters()):
            self._fill(module)

    def _wrap(self, unit: Unit, block: nn.Module) -> None:
        """Replace the block's forward by one that brings its weights, and forgets what it computes on the way."""
        own = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                self.use(unit, backward=False)
                output = own(*args, **kwargs)
                if self._used and self._next is None:
                    self.go_home()
                return output
            again = False

            def run(*args: Any, **kwargs: Any) -> Any:
                nonlocal again
                self.use(unit, backward=again)
                again = True
                with self._inside:  # the backward pass runs outside of the Trainer's forward context
                    return own(*args, **kwargs)

            return checkpoint(run, *args, use_reentrant=False, **kwargs)

        block.forward = forward

    def _arrive(self, unit: Unit) -> None:
        if unit.there is not None:
            return
        if unit.coming is None:
            unit.coming = self.lanes.bring(unit.home)  # type: ignore[arg-type]
        unit.there, wait = unit.coming
        wait()
        unit.point_to(unit.there)
        unit.coming = None
        self._used.append(unit)
        if self._next is unit:
            self._next = None

    def _leave(self, unit: Unit) -> None:
        if unit.home is not None:
            unit.point_to(unit.home)
        unit.there, unit.open = None, False
        self._used.remove(unit)

    def _set_out(self, unit: Unit | None) -> None:
        """Let this unit's weights, and no others, be on their way."""
        if self._next is not None and self._next is not unit:
            self._next.coming = None
        self._next = unit
        if unit is not None and unit.coming is None and unit.there is None:
            unit.coming = self.lanes.bring(unit.home)  # type: ignore[arg-type]

    def _following(self, unit: Unit, direction: int) -> Unit | None:
        """The next unit in this direction that has to be brought."""
        start = self.units.index(unit)
        rest = self.units[start + 1 :] if direction > 0 else self.units[:start][::-1]
        return next((one for one in rest if one.home is not None), None)


def units_of(module: nn.Module) -> list[Unit]:
    """The outermost of `wrapping.blocks` as units, in the module's order, and one last unit of all that is in none of
    them, or in two."""
    found = set(wrapping.blocks(module))
    inner = {below for one in found for below in one.modules() if below is not one}
    units = [
        Unit(name=name, block=one, places=[])
        for name, one in module.named_modules()
        if one in found and one not in inner
    ]
    units.append(Unit(name="what is outside of blocks", block=None, places=[]))
    around: dict[nn.Module, list[Unit]] = {}
    for unit in units[:-1]:
        for part in unit.block.modules() if unit.block else ():
            around.setdefault(part, []).append(unit)
    places: dict[nn.Parameter, tuple[nn.Module, str]] = {}
    homes: dict[nn.Parameter, set[Unit]] = {}
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            places.setdefault(parameter, (owner, name))
            homes.setdefault(parameter, set()).update(around.get(owner, units[-1:]))
    for parameter, place in places.items():
        (homes[parameter].pop() if len(homes[parameter]) == 1 else units[-1]).places.append(place)
    return units
