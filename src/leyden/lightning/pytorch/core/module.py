"""A Module under Lightning's name, with the few things its users know that `leyden.train.Module` has no need of."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import torch

from leyden.core.errors import ConfigurationError
from leyden.lightning.errors import NotAttachedError, not_kept
from leyden.lightning.pytorch.core.saving import HyperParameterNames, load_module
from leyden.train.module import Module

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer

_REDUCTIONS: dict[Any, str] = {
    **{word: word for word in ("mean", "sum", "min", "max")},
    **{torch.mean: "mean", torch.sum: "sum", torch.min: "min", torch.max: "max", torch.amin: "min", torch.amax: "max"},
    **{sum: "sum", min: "min", max: "max"},
}


class LightningModule(HyperParameterNames, Module):
    """`leyden.train.Module` with Lightning's signatures.

    No step and no hook is defined here: what a class below `Module` defines counts as the user's own.
    """

    example_input_array: Any = None
    strict_loading: bool = True
    fabric = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare_data_per_node = True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainer": None}

    @property
    def trainer(self) -> Trainer:
        """The Trainer that runs this module; raises NotAttachedError, a RuntimeError, when none does."""
        if self._trainer is None:
            name = type(self).__qualname__
            raise NotAttachedError(
                asked=f"{name}.trainer", found=f"{name} is not attached to a Trainer", do="Use it in fit or evaluation."
            )
        return self._trainer  # type: ignore[return-value]

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter."""
        found = (one.dtype for one in self.parameters() if one.is_floating_point())
        return next(found, torch.get_default_dtype())

    @property
    def on_gpu(self) -> bool:
        """Whether the module lies on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def device_mesh(self) -> Any:
        """The mesh of ModelParallelStrategy, for `configure_model`; None elsewhere. Leyden shards after that hook."""
        return None

    @property
    def global_rank(self) -> int:
        """This rank among all; 0 without a Trainer."""
        return 0 if self._trainer is None else self._trainer.global_rank

    @property
    def local_rank(self) -> int:
        """This rank among those of its node; 0 without a Trainer."""
        return 0 if self._trainer is None else self._trainer.local_rank

    @property
    def global_step(self) -> int:
        """Optimizer steps taken so far; 0 without a Trainer."""
        return 0 if self._trainer is None else self._trainer.global_step

    @property
    def current_epoch(self) -> int:
        """Epochs finished so far; 0 without a Trainer."""
        return 0 if self._trainer is None else self._trainer.current_epoch

    @property
    def logger(self) -> Any:
        """The Trainer's first logger, if any."""
        return None if self._trainer is None else self._trainer.logger

    @property
    def loggers(self) -> list[Any]:
        """The Trainer's loggers."""
        return [] if self._trainer is None else self._trainer.loggers

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """A module with the weights of a checkpoint (Leyden's or Lightning's), built with its stored arguments."""
        return load_module(cls, checkpoint_path, map_location, hparams_file, strict, kwargs)

    def configure_sharded_model(self) -> None:
        """The older name of `configure_model`."""

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or a list of several; `use_pl_optimizer=False` gives PyTorch's own."""
        found = super().optimizers()
        if use_pl_optimizer:
            return found
        return [one.optimizer for one in found] if isinstance(found, list) else found.optimizer

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """Only this optimizer's parameters require gradients inside."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def freeze(self) -> Self:  # type: ignore[override]
        """No parameter requires a gradient, and the module is in evaluation mode."""
        super().freeze()
        return self

    def unfreeze(self) -> Self:  # type: ignore[override]
        """Every parameter requires a gradient, and the module is in training mode."""
        super().unfreeze()
        return self

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once, not once a rank."""
        if self._trainer is None or self._trainer.is_global_zero:
            print(*args, **kwargs)

    def to_tensorrt(self, *args: Any, **kwargs: Any) -> Any:
        """Not kept."""
        raise not_kept("LightningModule.to_tensorrt", "Export with to_onnx, and give that file to TensorRT.")

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of `__init__`, those named, or the items of a mapping or Namespace, in `self.hparams`."""
        here = inspect.currentframe()
        self.keep(args, ignore or (), frame or (here.f_back if here else None))

    def log(  # type: ignore[override]
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Record one number or a metric object; outside of a Trainer nothing is recorded, with a warning."""
        if self._trainer is None:
            warnings.warn(f"self.log({name!r}, …) outside of a Trainer records nothing", stacklevel=2)
            return
        if rank_zero_only and self.global_rank != 0:
            return
        if reduce_fx not in _REDUCTIONS:
            raise ConfigurationError(
                asked=f"self.log({name!r}, reduce_fx={reduce_fx!r})",
                found="epochs are reduced by mean, sum, min or max",
                do="Use one of these words, or a torchmetrics object.",
            )
        super().log(
            name,
            value,
            prog_bar,
            logger is not False,
            on_step,
            on_epoch,
            _REDUCTIONS[reduce_fx],
            batch_size=batch_size,
            add_dataloader_idx=add_dataloader_idx,
        )

    def log_dict(  # type: ignore[override]
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """`log` every item, with the same settings."""
        for name, value in dictionary.items():
            self.log(
                name,
                value,
                prog_bar,
                logger,
                on_step,
                on_epoch,
                reduce_fx,
                add_dataloader_idx=add_dataloader_idx,
                batch_size=batch_size,
                rank_zero_only=rank_zero_only,
            )
