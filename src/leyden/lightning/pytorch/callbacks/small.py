"""Leyden's callbacks with Lightning's arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from leyden.lightning.errors import not_kept
from leyden.train import callbacks

BasePredictionWriter = callbacks.BasePredictionWriter
LambdaCallback = callbacks.LambdaCallback


class ModelSummary(callbacks.ModelSummary):
    """A table of submodules when `fit` starts; more than `max_depth` has no meaning here."""

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        super().__init__(max_depth)


class RichModelSummary(ModelSummary):
    """The same table."""


class OnExceptionCheckpoint(callbacks.OnExceptionCheckpoint):
    """A checkpoint after an error, `<dirpath>/<filename>.ckpt`."""

    FILE_EXTENSION = ".ckpt"

    def __init__(self, dirpath: str | Path, filename: str = "on_exception") -> None:
        super().__init__(dirpath, filename)
        self.filename = f"{filename}{self.FILE_EXTENSION}"


class ThroughputMonitor(callbacks.ThroughputMonitor):
    """Rates of training; `kwargs` are Leyden's: available_flops, flops_per_batch, window_size."""

    def __init__(
        self, batch_size_fn: Callable[[Any], int], length_fn: Callable[[Any], int] | None = None, **kwargs: Any
    ) -> None:
        kwargs.pop("separator", None)
        super().__init__(batch_size_fn, length_fn, **kwargs)


class Timer(callbacks.Timer):
    """The time of training, and its end."""

    def __init__(self, duration: Any = None, interval: str = "step", verbose: bool = True) -> None:
        super().__init__(duration, str(getattr(interval, "value", interval)), verbose)


class WeightAveraging(callbacks.WeightAveraging):
    """Averages of the weights; `kwargs` are `avg_fn` or `multi_avg_fn` of torch.optim.swa_utils.AveragedModel."""

    def __init__(self, device: Any = None, use_buffers: bool = True, **kwargs: Any) -> None:
        super().__init__(device, use_buffers, **kwargs)


class EMAWeightAveraging(callbacks.EMAWeightAveraging):
    """Exponential moving average of the weights."""

    def __init__(
        self,
        device: Any = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise not_kept(f"EMAWeightAveraging({', '.join(kwargs)}=…)", "Use WeightAveraging(multi_avg_fn=…).")
        super().__init__(
            device, use_buffers, decay, update_every_n_steps, update_starting_at_step, update_starting_at_epoch
        )
