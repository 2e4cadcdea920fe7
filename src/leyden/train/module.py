"""What does the user write? A Module (the system of networks and its steps) and a DataModule (where batches come from).

Names and signatures are Lightning's. Hooks cost nothing unless overridden: the plan looks once which are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from leyden.core.errors import ConfigurationError
from leyden.train.hooks import Hooks, TransferHooks
from leyden.train.hparams import KeepsHyperParameters, arguments_for

if TYPE_CHECKING:
    from leyden.train.loggers.base import Logger
    from leyden.train.logs.logbook import LogBook
    from leyden.train.stepper import Stepper
    from leyden.train.trainer import Trainer


class Loaders(KeepsHyperParameters):
    """Where batches come from: a Module or a DataModule may say so."""

    def prepare_data(self) -> None:
        """Bring the data to the node; called once a node, before any rank calls `setup`: set no state here."""

    def train_dataloader(self) -> Iterable[Any]:
        """Batches to train on, unless `fit` is given them."""
        raise missing(self, "train_dataloader")

    def val_dataloader(self) -> Any:
        """A loader of batches to validate on, or several."""
        raise missing(self, "val_dataloader")

    def test_dataloader(self) -> Any:
        """A loader of batches to test on, or several."""
        raise missing(self, "test_dataloader")

    def predict_dataloader(self) -> Any:
        """A loader of batches to predict, or several."""
        raise missing(self, "predict_dataloader")


class Module(nn.Module, Hooks, Loaders):
    """A system of networks together with its training, validation, test and predict steps.

    Override `training_step` and `configure_optimizers`; the rest is optional. An attribute `example_input_array`, if
    there is one, is the sample that export calls `forward` with.
    """

    automatic_optimization = True
    """Whether the Trainer calls backward and steps the optimizer; set it to False to do so in `training_step`."""

    _book: LogBook | None = None
    _stepper: Stepper | None = None
    _trainer: Trainer | None = None

    @property
    def trainer(self) -> Trainer:
        """The Trainer that runs this module; raises ConfigurationError when none does."""
        if self._trainer is None:
            raise ConfigurationError(
                asked="self.trainer", found="no Trainer runs this module", do="Use it inside fit, validate or test."
            )
        return self._trainer

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        first = next(self.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: str | Path, *, strict: bool = True, map_location: Any = None, **kwargs: Any
    ) -> Self:
        """A module with the weights of a checkpoint (Leyden's or Lightning's), built with its stored hyperparameters.

        `kwargs` go over the stored ones. Raises CheckpointError where the checkpoint is not whole or does not fit.
        """
        from leyden.train.checkpoints import checkpoint

        path = Path(checkpoint_path)
        snapshot = checkpoint.read(path)
        module = cls(**arguments_for(cls, snapshot.training.get("hyper_parameters", {}), kwargs))
        checkpoint.load_weights(module, snapshot, path, strict=strict)
        return module if map_location is None else module.to(map_location)

    @property
    def global_step(self) -> int:
        """Optimizer steps taken so far."""
        return self.trainer.global_step

    @property
    def current_epoch(self) -> int:
        """Epochs finished so far."""
        return self.trainer.current_epoch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | Mapping[str, Any] | None:
        """The loss of one batch: a scalar tensor, a mapping with the key "loss", or None to skip the batch."""
        raise missing(self, "training_step")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """One batch of validation; `self.log` what matters. May take a third argument, `dataloader_idx`."""
        raise missing(self, "validation_step")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """One batch of the test; as `validation_step`."""
        raise missing(self, "test_step")

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """What `Trainer.predict` collects for one batch; the default calls the module."""
        return self(batch)

    def configure_optimizers(self) -> Any:
        """An optimizer, or ([optimizer], [scheduler]), or {"optimizer": …, "lr_scheduler": …}; several by hand."""
        raise missing(self, "configure_optimizers")

    def configure_callbacks(self) -> Any:
        """Callbacks that this Module brings along, one or several; each takes the place of a given one of its type."""
        return []

    def configure_model(self) -> None:
        """Make layers here instead of in `__init__` where they are too large for one device; may be called again."""

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """How gradients come from a loss; override to do it another way."""
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """How gradients are bounded before a step; override and call `clip_gradients`, or do it another way."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """How a step is taken; an override must pass the closure on: it computes the loss and its gradients."""
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """How gradients are forgotten."""
        optimizer.zero_grad(set_to_none=True)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """How a learning-rate schedule moves; `metric` is what ReduceLROnPlateau watches."""
        scheduler.step() if metric is None else scheduler.step(metric)

    def tbptt_split_batch(self, batch: Any, split_size: int) -> list[Any]:
        """A batch in stretches of `split_size` along its time axis, for `truncated_bptt_steps`; default: axis 1."""
        from leyden.train.ways import cut_time

        return cut_time(batch, split_size)

    def optimizers(self) -> Any:
        """The optimizer, or a list of several, for manual optimization; their steps are counted and scaled."""
        manual = self._running().manual
        return manual[0] if len(manual) == 1 else list(manual)

    def lr_schedulers(self) -> Any:
        """The learning-rate schedule, a list of several, or None; in manual optimization you move them."""
        found = [one.scheduler for one in self._running().optimization.schedules]
        return found[0] if len(found) == 1 else found or None

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """`loss.backward(…)` for manual optimization: scaled for the precision and exchanged between ranks."""
        self._running().manual_backward(loss, *args, **kwargs)

    def clip_gradients(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Bound the gradients of an optimizer's parameters, by "norm" (default) or "value"."""
        from leyden.train.stepper import clip

        if gradient_clip_val is not None:
            clip(getattr(optimizer, "optimizer", optimizer), gradient_clip_val, gradient_clip_algorithm or "norm")

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Until `untoggle_optimizer`, only this optimizer's parameters require gradients."""
        self._toggled = optimizer.toggle_model()
        self._toggled.__enter__()

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """The other optimizers' parameters require gradients again."""
        self._toggled.__exit__(None, None, None)

    @property
    def logger(self) -> Logger | None:
        """The Trainer's first logger, if any."""
        return self.trainer.logger

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Every rank's tensors in the same containers, of shape (world size, *shape) each, everywhere. Collective."""
        from leyden.train.ranks.collective import all_gather

        return all_gather(data, self.trainer.plan.world, self.device, group, sync_grads)

    def to_onnx(self, file_path: str | Path, input_sample: Any = None, **kwargs: Any) -> Any:
        """Write `forward` as an ONNX graph that takes any batch size; see `leyden.train.export.to_onnx`."""
        from leyden.train import export

        return export.to_onnx(self, file_path, input_sample, **kwargs)

    def to_torch_export(self, file_path: str | Path, input_sample: Any = None) -> torch.export.ExportedProgram:
        """Write `forward` as a `torch.export` program (.pt2); see `leyden.train.export.to_torch_export`."""
        from leyden.train import export

        return export.to_torch_export(self, file_path, input_sample)

    def to_torchscript(
        self, file_path: str | Path | None = None, method: str = "script", example_inputs: Any = None, **kwargs: Any
    ) -> torch.jit.ScriptModule:
        """`forward` as TorchScript, written too if there is a path; see `leyden.train.export.to_torchscript`."""
        from leyden.train import export

        return export.to_torchscript(self, file_path, method, example_inputs, **kwargs)

    def to_safetensors(self, file_path: str | Path) -> None:
        """Write weights and buffers, and nothing else; see `leyden.train.export.to_safetensors`."""
        from leyden.train import export

        export.to_safetensors(self, file_path)

    def from_safetensors(self, file_path: str | Path) -> None:
        """Load weights and buffers, also a checkpoint's model.safetensors; see `export.from_safetensors`."""
        from leyden.train import export

        export.from_safetensors(self, file_path)

    def freeze(self) -> None:
        """No parameter requires a gradient, and the module is in evaluation mode."""
        self.requires_grad_(False)
        self.eval()

    def unfreeze(self) -> None:
        """Every parameter requires a gradient, and the module is in training mode."""
        self.requires_grad_(True)
        self.train()

    def _running(self) -> Stepper:
        if self._stepper is None:
            raise ConfigurationError(
                asked="the optimizers of this module", found="it is not being trained", do="Use them inside fit."
            )
        return self._stepper

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        sync_dist: bool = False,
        batch_size: int | None = None,
        add_dataloader_idx: bool = True,
        rank_zero_only: bool = False,
    ) -> None:
        """Record one number. Tensors stay on their device until the logging interval ends; every point is kept.

        `on_step` keeps each step's value (default in training), `on_epoch` reduces over the epoch by `reduce_fx`
        ("mean", weighted by `batch_size`, "sum", "min" or "max"; default in evaluation). Epoch values are always exact
        over all ranks, so `sync_dist` is accepted and needs no setting; `rank_zero_only` counts those of rank 0 alone.
        A metric object (torchmetrics) is computed at the epoch's end and reset; called with a batch, its value of that
        batch can be kept with `on_step`.
        """
        book = self._book
        if book is None:
            raise ConfigurationError(
                asked=f"self.log({name!r}, …)", found="no Trainer runs this module", do="Log inside fit or evaluation."
            )
        if rank_zero_only and not self.trainer.is_global_zero:
            return
        if reduce_fx.__class__ is not str:
            reduce_fx = reduce_fx.__name__  # torch.mean and the like
        book.add(name, value, prog_bar, logger, on_step, on_epoch, reduce_fx, batch_size, add_dataloader_idx)

    def log_dict(self, dictionary: Any, **settings: Any) -> None:
        """`log` every item of a mapping, or of a collection of metrics, with the same settings."""
        collection = hasattr(dictionary, "compute_groups")  # of torchmetrics, whose items are copies unless told
        for name, value in dictionary.items(copy_state=False) if collection else dictionary.items():
            self.log(name, value, **settings)

    def print(self, *values: object) -> None:
        """Print once, not once a rank."""
        if self._trainer is None or self._trainer.is_global_zero:
            print(*values)


class DataModule(Loaders, TransferHooks):
    """Where batches come from: downloads, splits and loaders, apart from the science.

    `prepare_data` runs on one process a node (download, unpack: set no state), `setup` on every rank.
    """

    trainer: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep of the data's state, as plain data and tensors."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint; called after `setup`."""

    def on_exception(self, exception: BaseException) -> None:
        """The call of the Trainer ends with this error."""

    def setup(self, stage: str) -> None:
        """Make the data sets; `stage` is "fit", "validate", "test" or "predict"."""

    def teardown(self, stage: str) -> None:
        """Let go of what `setup` made."""


def overrides(owner: Module | DataModule, method: str) -> bool:
    """Whether the user wrote this method."""
    base = Module if isinstance(owner, Module) else DataModule
    return getattr(type(owner), method, None) is not getattr(base, method)


def missing(owner: object, method: str) -> ConfigurationError:
    """The error of a method that the user has yet to write."""
    name = type(owner).__name__
    return ConfigurationError(
        asked=f"{name}.{method} is needed", found=f"{name} does not define it", do=f"Write {method} in {name}."
    )
