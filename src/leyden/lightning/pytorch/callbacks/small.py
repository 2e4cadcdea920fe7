"""Leyden's callbacks with Lightning's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import RandomSampler

from leyden.lightning.errors import not_kept
from leyden.train import callbacks
from leyden.train.loaders import RankSampler

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer

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


class BasePredictionWriter(callbacks.BasePredictionWriter):
    """Base for writing predictions. `batch_indices` are the samples' places where loaders go in order, else None."""

    def __init__(self, write_interval: str = "batch") -> None:
        super().__init__(write_interval)
        self._places: dict[int, Iterator[list[int]]] = {}
        self._seen: list[list[Any]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        super().on_predict_start(trainer, pl_module)
        self._places, self._seen = {}, []

    def on_predict_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if dataloader_idx not in self._places:
            self._places[dataloader_idx] = _places(trainer, dataloader_idx)
            self._seen.append([])
        indices = next(self._places[dataloader_idx], None)
        self._seen[dataloader_idx].append(indices)
        if self._batches:
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)
        if self._epochs:
            self._predictions += [[] for _ in range(dataloader_idx + 1 - len(self._predictions))]
            self._predictions[dataloader_idx].append(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        if self._epochs:
            found, self._predictions = self._predictions, []
            self.write_on_epoch_end(trainer, pl_module, found[0] if len(found) == 1 else found, self._seen)


def _places(trainer: Trainer, index: int) -> Iterator[list[int]]:
    """The samples of each batch of a loader that draws no random order."""
    loaders = trainer.predict_dataloaders
    loader = loaders[index] if isinstance(loaders, list) else loaders
    sampler = getattr(loader, "sampler", None)
    inner = sampler.inner if isinstance(sampler, RankSampler) else sampler
    batches = getattr(loader, "batch_sampler", None)
    return iter(() if batches is None or isinstance(inner, RandomSampler) else batches)
