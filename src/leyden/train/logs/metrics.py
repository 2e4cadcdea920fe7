"""How are metric objects with a state of their own, such as torchmetrics', logged and kept? By their shape alone.

Nothing here imports torchmetrics: a metric has `compute` and `reset`, and keeps its state under the names in
`_defaults` (torchmetrics.Metric, "Implementing a Metric").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from leyden.core.errors import ConfigurationError


def is_metric(value: object) -> bool:
    """Whether the value is a metric object rather than a number."""
    return callable(getattr(value, "compute", None)) and callable(getattr(value, "reset", None))


def last_of(metric: Any, name: str) -> Tensor:
    """What a metric made of the last batch alone; raises ConfigurationError where it was not called with one."""
    value = getattr(metric, "_forward_cache", None)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = "it was updated but not called, so this step has no value"
        if isinstance(value, Tensor):
            found = f"it gives a tensor of shape {tuple(value.shape)}"
        raise ConfigurationError(
            asked=f"self.log({name!r}, a {type(metric).__name__}, on_step=True)",
            found=found,
            do="Call it with the batch (self.acc(preds, target)), or log it with on_step=False, on_epoch=True.",
        )
    return value


def finish(metric: Any) -> float:
    """The metric over its whole epoch and all ranks; it starts anew. Collective."""
    value = metric.compute()
    metric.reset()
    return float(value)


def states(module: nn.Module) -> dict[str, Any]:
    """What the metrics inside a module have seen of this epoch, by their names."""
    kept = {}
    for name, metric in _metrics(module):
        if metric._update_count:
            values = {key: _copied(getattr(metric, key)) for key in metric._defaults}
            kept[name] = {"count": metric._update_count, "values": values}
    return kept


def load_states(module: nn.Module, kept: Mapping[str, Any]) -> None:
    """Let the metrics inside a module go on where they stood."""
    for name, metric in _metrics(module):
        metric.reset()
        if name in kept:
            for key, value in kept[name]["values"].items():
                setattr(metric, key, _copied(value, getattr(metric, "device", None)))
            metric._update_count, metric._computed = kept[name]["count"], None


def _metrics(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        if is_metric(part) and hasattr(part, "_defaults") and hasattr(part, "_update_count"):
            yield name, part


def _copied(value: Any, device: Any = "cpu") -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    return [_copied(part, device) for part in value] if isinstance(value, list) else value
