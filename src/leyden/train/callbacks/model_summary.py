"""What is the model made of, and how large are its parts?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from leyden.core.errors import ConfigurationError
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class ModelSummary(Callback):
    """Print once, when `fit` starts, a table of submodules down to `max_depth` (-1: all; 0: nothing is printed)."""

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
    """One submodule. `params` counts those of its own parts too, and is None where their shapes are not known yet."""

    name: str
    type: str
    params: int | None
    mode: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The parts of a model and its totals; `str` gives the table. `size_mb` is 10⁶ bytes of parameters."""

    parts: list[Part]
    trainable: int
    frozen: int
    size_mb: float
    lazy: bool

    def __str__(self) -> str:
        rows = [("Name", "Type", "Params", "Mode")]
        rows += [(p.name, p.type, "?" if p.params is None else short(p.params), p.mode) for p in self.parts]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
        rule = "-" * max(map(len, lines))
        totals = [
            f"{short(self.trainable)} trainable, {short(self.frozen)} frozen, {short(self.trainable + self.frozen)} "
            f"parameters in all, {self.size_mb:,.3f} MB"
        ]
        if self.lazy:
            totals.append("? are lazy parameters, which get their shapes with the first batch; totals leave them out")
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


def summarize(module: nn.Module, max_depth: int = 1) -> Summary:
    """Count the parameters of every submodule down to `max_depth` (-1: all), shared ones once in the totals."""
    parts = [
        Part(name=name, type=type(one).__name__, params=_count(one), mode="train" if one.training else "eval")
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
    )


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
