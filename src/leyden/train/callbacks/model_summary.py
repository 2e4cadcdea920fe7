"""What is the model made of, and how large are its parts?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback
from leyden.train.feeding.loaders import to_device

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class ModelSummary(Callback):
    """Print once, when `fit` starts, a table of submodules down to `max_depth` (-1: all; 0: nothing is printed).

    A Module with an `example_input_array` is run once, so that the table has the sizes that go in and out and the
    floating-point operations (multiplications and additions of matrices) of `forward`.
    """

    def __init__(self, max_depth: int = 1) -> None:
        if max_depth < -1:
            raise ConfigurationError(
                asked=f"max_depth={max_depth}", found="it is below -1", do="Use -1 for all, 0 for none, or 1, 2, …."
            )
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: Module) -> None:
        if self.max_depth != 0:
            trainer.say(str(summarize(pl_module, self.max_depth)))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One submodule. `params` counts those of its own parts too, and is None where their shapes are not known yet.

    The rest is of the first call with `example_input_array`: sizes of tensors, floating-point operations.
    """

    name: str
    type: str
    params: int | None
    mode: str
    in_size: str = "?"
    out_size: str = "?"
    flops: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The parts of a model and its totals; `str` gives the table. `size_mb` is 10⁶ bytes of parameters."""

    parts: list[Part]
    trainable: int
    frozen: int
    size_mb: float
    lazy: bool
    flops: int | None = None

    def __str__(self) -> str:
        rows = [("Name", "Type", "Params", "Mode", "In", "Out", "FLOPs")]
        for p in self.parts:
            count = "?" if p.params is None else short(p.params)
            rows.append((p.name, p.type, count, p.mode, p.in_size, p.out_size, short(p.flops)))
        columns = list(zip(*rows, strict=True))[: 4 if self.flops is None else 7]
        widths = [max(map(len, column)) * (-1 if n in (2, 6) else 1) for n, column in enumerate(columns)]
        lines = [
            "  ".join(
                cell.ljust(width) if width > 0 else cell.rjust(-width) for cell, width in zip(row, widths, strict=False)
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        totals = [
            f"{short(self.trainable)} trainable, {short(self.frozen)} frozen, {short(self.trainable + self.frozen)} "
            f"parameters in all, {self.size_mb:,.3f} MB"
        ]
        if self.flops is not None:
            totals.append(f"{short(self.flops)} floating-point operations forward, for the example_input_array")
        if self.lazy:
            totals.append("? are lazy parameters, which get their shapes with the first batch; totals leave them out")
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


def summarize(module: nn.Module, max_depth: int = 1) -> Summary:
    """Count the parameters of every submodule down to `max_depth` (-1: all), shared ones once in the totals."""
    measured = _measure(module) if getattr(module, "example_input_array", None) is not None else {}
    parts = [
        Part(
            name=name,
            type=type(one).__name__,
            params=_count(one),
            mode="train" if one.training else "eval",
            **measured.get(name, {}),
        )
        for name, one in module.named_modules()
        if name and (max_depth < 0 or name.count(".") < max_depth)
    ]
    known = [one for one in module.parameters() if not isinstance(one, UninitializedParameter)]
    return Summary(
        parts=parts,
        trainable=_total(one for one in known if one.requires_grad),
        frozen=_total(one for one in known if not one.requires_grad),
        size_mb=sum(one.numel() * one.element_size() for one in known) / 1e6,
        lazy=len(known) < sum(1 for _ in module.parameters()),
        flops=measured[""]["flops"] if measured else None,
    )


def _measure(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Sizes and operations of every submodule, by name; "" is the module itself. Leaves modes as they are."""
    first = next((one for one in module.parameters() if one.is_floating_point()), torch.empty(0))
    sample = to_device(module.example_input_array, first.device, first.dtype)
    found: dict[str, dict[str, Any]] = {}

    def seen(name: str, inputs: Any, output: Any) -> None:
        found.setdefault(name, {"in_size": _sizes(inputs), "out_size": _sizes(output), "flops": 0})

    hooks = [
        one.register_forward_hook(lambda _, inputs, output, name=name: seen(name, inputs, output))
        for name, one in module.named_modules()
    ]
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if isinstance(sample, Mapping):
                module(**sample)
            else:
                module(*sample if isinstance(sample, tuple) else (sample,))
    finally:
        for hook in hooks:
            hook.remove()
        for one, training in modes:
            one.training = training
    for name, counts in counter.get_flop_counts().items():
        root, _, rest = name.partition(".")
        if root == type(module).__name__ and rest in found:
            found[rest]["flops"] = sum(counts.values())
    return found


def _sizes(value: Any) -> str:
    """The sizes of the tensors in a value.

    >>> _sizes((torch.ones(2, 3),)), _sizes({"a": torch.ones(1), "b": [torch.ones(4, 4), None]})
    ('2×3', '1, 4×4')
    """
    tensors = [one for one in tree_leaves(value) if isinstance(one, Tensor)]
    return ", ".join("×".join(map(str, one.shape)) or "scalar" for one in tensors) or "-"


def short(count: int) -> str:
    """A count in three digits or so.

    >>> short(0), short(999), short(1_204), short(7_616_000_000)
    ('0', '999', '1.2 K', '7.6 B')
    """
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def _count(module: nn.Module) -> int | None:
    parameters = list(module.parameters())
    return None if any(isinstance(one, UninitializedParameter) for one in parameters) else _total(parameters)


def _total(parameters: Iterable[Tensor]) -> int:
    return sum(one.numel() for one in parameters)
