"""How do several ranks compute a layer together? A plan of names, brought to PyTorch's parallel styles."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.strategies import TensorParallel

_SEQUENCE = Shard(1)  # activations are (batch, sequence, features)
_WORDS: dict[str, ParallelStyle] = {
    "colwise": ColwiseParallel(),
    "colwise_gather": ColwiseParallel(output_layouts=Replicate()),
    "colwise_from_sequence": ColwiseParallel(input_layouts=_SEQUENCE),
    "rowwise": RowwiseParallel(),
    "rowwise_to_sequence": RowwiseParallel(output_layouts=_SEQUENCE),
    "sequence": SequenceParallel(),
    "gather_sequence": PrepareModuleInput(
        input_layouts=(_SEQUENCE,), desired_input_layouts=(Replicate(),), use_local_output=True
    ),
}
_ANY_LAYER = ("sequence", "gather_sequence")
# An embedding is looked up with whole indices, and a row of it is a word.
_EMBEDDING_WORDS: dict[str, ParallelStyle] = {
    "rowwise": RowwiseParallel(input_layouts=Replicate()),
    "rowwise_to_sequence": RowwiseParallel(input_layouts=Replicate(), output_layouts=_SEQUENCE),
}

Styles = dict[nn.Module, ParallelStyle]


def styles(module: nn.Module, strategy: TensorParallel) -> Styles:
    """Which layer is computed in which style; raises ConfigurationError for a name or word that does not fit.

    Empty where the plan is a function.
    """
    found: Styles = {}
    if callable(strategy.plan):
        return found
    names = dict(module.named_modules())
    for pattern, word in strategy.plan.items():
        layers = [name for name in names if re.fullmatch(re.escape(pattern).replace(r"\*", "[^.]+"), name)]
        if not layers:
            raise ConfigurationError(
                asked=f"TensorParallel plan names {pattern!r}",
                found=f"no submodule of {type(module).__name__} is called so",
                do=nearest(pattern, [name for name, one in names.items() if name and not list(one.children())]),
            )
        for name in layers:
            found[names[name]] = _style(name, names[name], word, strategy.size)
    _check_ties(module, found)
    return found


def parallelize(layers: Iterable[nn.Module], chosen: Styles, mesh: DeviceMesh) -> None:
    """Divide those of the layers that have a style and are still whole. Collective over the mesh."""
    # A checkpoint gathers over two dimensions, one after the other; torch warns about it once a shape.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    for layer in layers:
        if layer in chosen and not any(isinstance(one, DTensor) for one in layer.parameters()):
            parallelize_module(layer, mesh, chosen[layer])


def _style(name: str, layer: nn.Module, word: str | ParallelStyle, size: int) -> ParallelStyle:
    if isinstance(word, ParallelStyle):
        return word
    if word not in _WORDS:
        raise ConfigurationError(
            asked=f"TensorParallel plan says {word!r} for {name!r}", found="it is unknown", do=nearest(word, _WORDS)
        )
    if word in _ANY_LAYER:
        return _WORDS[word]
    if not isinstance(layer, nn.Linear | nn.Embedding):
        raise ConfigurationError(
            asked=f"TensorParallel plan says {word!r} for {name!r}",
            found=f"it is a {type(layer).__name__}, which PyTorch cannot divide by rows or columns",
            do="Name Linear and Embedding layers, or give a ParallelStyle of your own.",
        )
    rows, columns = layer.weight.shape  # (outputs, inputs); of an embedding (words, features)
    embeds = isinstance(layer, nn.Embedding)
    divided = rows if word.startswith("colwise") != embeds else columns
    if divided % size:
        raise ConfigurationError(
            asked=f"TensorParallel(size={size}) divides {name!r} by {word!r}",
            found=f"its weight is {rows} × {columns}, and {divided} cannot be divided evenly",
            do=f"Choose a size that divides {divided}, or leave this layer out.",
        )
    return (_EMBEDDING_WORDS if embeds else _WORDS).get(word, _WORDS[word])


def _check_ties(module: nn.Module, chosen: Styles) -> None:
    owners: dict[int, set[nn.Module]] = {}
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(layer)
    for shared in owners.values():
        if len(shared) > 1 and any(layer in chosen for layer in shared):
            raise ConfigurationError(
                asked="TensorParallel divides a layer that shares its weights with another",
                found=f"they are shared by a {' and a '.join(sorted(type(one).__name__ for one in shared))}",
                do="Leave these layers out of the plan, or give each its own weights.",
            )
