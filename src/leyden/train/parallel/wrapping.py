"""Which parts of a module are handled on their own: gathered, computed again in backward, compiled?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from leyden.core.errors import ConfigurationError

Wrap = str | type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[nn.Module], bool]

_WORTH = 1_000_000  # numbers: 4 MB take about as long to send as a collective takes to begin (some 50 µs at 100 GB/s)
_LISTS = (nn.ModuleList, nn.ModuleDict)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The parts a deep module consists of, inner ones first.

    They are what repeats: the elements of every ModuleList, and of every Sequential in which a class that has parts of
    its own comes twice. Inside of a block, a further list counts where its elements hold a million numbers or more.
    Where nothing repeats, they are the submodules that hold a million numbers or more.
    """
    return list(_repeated(module, inside=False)) or list(_large(module))


def find(module: nn.Module, wrap: Wrap) -> list[nn.Module]:
    """The submodules that "auto", classes or a function choose, inner ones first; those without parameters never.

    Raises ConfigurationError where classes or a function choose none.
    """
    if isinstance(wrap, str):
        return blocks(module)
    inner = [one for one in reversed(list(module.modules())) if one is not module and _size(one)]
    chosen = [one for one in inner if (isinstance(one, wrap) if isinstance(wrap, type | tuple) else wrap(one))]
    if not chosen:
        raise ConfigurationError(
            asked=f"blocks of {type(module).__name__} chosen by {_name(wrap)}",
            found="no submodule is one",
            do=f"It has {', '.join(sorted({type(one).__name__ for one in inner}))}.",
        )
    return chosen


def untied(module: nn.Module, parts: list[nn.Module]) -> list[nn.Module]:
    """The parts (inner ones first) without those that share a parameter with what lies outside: one must hold it."""
    homes: dict[int, set[int]] = defaultdict(set)
    _settle(module, id(module), {id(one) for one in parts}, homes)
    shared = {home for found in homes.values() if len(found) > 1 for home in found}
    torn = next((one for one in parts if id(one) in shared), None)
    return parts if torn is None else untied(module, [one for one in parts if one is not torn])


def recompute(module: nn.Module, choice: bool | type[nn.Module] | tuple[type[nn.Module], ...]) -> None:
    """From now on these blocks (True: `blocks`) keep no activations for backward; False undoes it everywhere."""
    for one in module.modules():
        if isinstance(one.__dict__.get("forward"), Recomputed):
            del one.forward
    if choice is False:
        return
    chosen = blocks(module) if choice is True else find(module, choice)
    inner = {id(below) for one in chosen for below in one.modules() if below is not one}
    if not chosen:
        raise ConfigurationError(
            asked=f"activation_checkpointing=True for a {type(module).__name__}",
            found="it has no repeated blocks (ModuleList, Sequential) and no submodule of a million numbers",
            do="Name classes instead: activation_checkpointing=Block.",
        )
    for one in chosen:
        if id(one) not in inner:
            one.forward = Recomputed(one.forward)


class Recomputed:
    """A forward pass that is run again when backward needs what it computed (`torch.utils.checkpoint`)."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)


def _repeated(module: nn.Module, *, inside: bool) -> Iterator[nn.Module]:
    repeats = isinstance(module, nn.ModuleList) or (isinstance(module, nn.Sequential) and _repeats(module))
    for child in module.children():
        size = _size(child)
        taken = repeats and size > 0 and (not inside or size >= _WORTH) and not isinstance(child, _LISTS)
        yield from _repeated(child, inside=inside or taken)
        if taken:
            yield child


def _repeats(sequence: nn.Sequential) -> bool:
    kinds = [type(one) for one in sequence.children() if any(True for _ in one.children())]
    return len(kinds) > len(set(kinds))


def _large(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _size(child) >= _WORTH:
            yield from _large(child)
            if not isinstance(child, _LISTS):
                yield child


def _settle(module: nn.Module, home: int, parts: set[int], homes: dict[int, set[int]]) -> None:
    """Note for every parameter in which parts it lives."""
    home = id(module) if id(module) in parts else home
    for parameter in module.parameters(recurse=False):
        homes[id(parameter)].add(home)
    for child in module.children():
        _settle(child, home, parts, homes)


def _size(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def _name(wrap: Wrap) -> str:
    kinds = wrap if isinstance(wrap, tuple) else (wrap,)
    return ", ".join(getattr(one, "__name__", repr(one)) for one in kinds)
