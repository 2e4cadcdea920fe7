"""A Trainer that takes Lightning's arguments, each translated to Leyden's, and runs `leyden.train`'s loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leyden import train
from leyden.core.errors import CheckpointError
from leyden.lightning.pytorch.accelerators import Accelerator
from leyden.lightning.pytorch.callbacks.bars import ProgressBar
from leyden.lightning.pytorch.core.datamodule import LightningDataModule
from leyden.lightning.pytorch.core.module import LightningModule
from leyden.lightning.pytorch.loggers import Logger
from leyden.lightning.pytorch.plugins import CheckpointIO, ClusterEnvironment, LayerSync, Precision
from leyden.lightning.pytorch.profilers import Profiler
from leyden.lightning.pytorch.strategies import Strategy
from leyden.lightning.pytorch.trainer.combining import combined, combines, one_by_one
from leyden.lightning.pytorch.trainer.known import Known
from leyden.lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from leyden.lightning.pytorch.trainer.translate import translate
from leyden.train import Callback
from leyden.train.fitting import Fit
from leyden.train.stage import Stage

Plugin = Precision | ClusterEnvironment | CheckpointIO | LayerSync


class Trainer(Known, train.Trainer):  # type: ignore[misc]  # `accelerator` is more than Leyden's word, and that word
    """`leyden.train.Trainer` with Lightning's arguments.

    Logs and checkpoints go where Lightning's users look for them, `lightning_logs/version_<n>`, beside Leyden's record
    of the run. A checkpoint is a folder in Leyden's format; `load_from_checkpoint` and `ckpt_path` take it, and
    Lightning's files too. Raises ConfigurationError for what Leyden does another way, naming that.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        precision: int | str | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool = True,
        profiler: Profiler | str | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Plugin | list[Plugin] | None = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: str | Path | None = None,
        enable_autolog_hparams: bool = True,
        model_registry: str | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        translated = translate(given)
        super().__init__(**translated.settings)
        self._begin_known(given, translated)

    def fit(  # type: ignore[override]  # modules of Lightning's kind
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train the module. Loaders in a list or dict are drawn from together (CombinedLoader, "max_size_cycle")."""
        if isinstance(train_dataloaders, train.DataModule):
            train_dataloaders, datamodule = None, train_dataloaders
        model = self._uncompiled(model)
        with self._running(TrainerFn.FITTING, ckpt_path), combines(self, datamodule, model):
            super().fit(model, combined(train_dataloaders, self), one_by_one(val_dataloaders), datamodule, ckpt_path)

    def validate(  # type: ignore[override]  # Lightning's order of arguments
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Validate once; without a model that of the last call, with the weights of its best checkpoint."""
        module, path = self._module_for(model, ckpt_path)
        with self._running(TrainerFn.VALIDATING, path):
            results = super().validate(module, one_by_one(dataloaders), datamodule, path)
        return self._told(results, verbose)

    def test(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Test once; without a model that of the last call, with the weights of its best checkpoint."""
        module, path = self._module_for(model, ckpt_path)
        with self._running(TrainerFn.TESTING, path):
            results = super().test(module, one_by_one(dataloaders), datamodule, path)
        return self._told(results, verbose)

    def predict(  # type: ignore[override]
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """What `predict_step` returns for each batch; nothing where `return_predictions` is False."""
        module, path = self._module_for(model, ckpt_path)
        with self._running(TrainerFn.PREDICTING, path):
            kept = return_predictions is not False
            outputs = super().predict(module, one_by_one(dataloaders), datamodule, path, return_predictions=kept)
        return outputs if kept else None

    def save_checkpoint(
        self,
        filepath: str | Path,
        weights_only: bool | None = None,
        storage_options: Any = None,
        *,
        on_done: Callable[[CheckpointError | None], None] | None = None,
    ) -> None:
        """Write everything training needs to go on, or the weights and hyperparameters; collective over ranks."""
        super().save_checkpoint(filepath, bool(weights_only), on_done=on_done)

    def init_module(self, empty_init: bool | None = None) -> Any:
        """A context in which modules are made on the device and in the precision of this Trainer."""
        device = torch.device("meta") if empty_init else self.strategy.root_device
        made: Any = device if self.precision != "64-true" else nullcontext()
        return made

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once, not once a rank."""
        if self.is_global_zero:
            print(*args, **kwargs)

    # Seams of the loop ----------------------------------------------------------------------------------------------

    def _train(self, fit: Fit, stage: Stage) -> None:
        """The loop, with what `training_step` returned as Lightning hands it to hooks, and a bar of one's own."""
        bar = self.progress_bar_callback
        if bar is not None and type(bar).get_metrics is not ProgressBar.get_metrics:
            fit.shown = lambda: _numbers(bar.get_metrics(self, fit.module))  # type: ignore[method-assign]
        ends = fit.hooks["on_train_batch_end"]
        fit.hooks["on_train_batch_end"] = tuple(self._told_outputs(hook, fit.automatic) for hook in ends)
        super()._train(fit, stage)

    def _told_outputs(self, hook: Callable[..., Any], automatic: bool) -> Callable[..., Any]:
        """The hook, given a dict with the key "loss" whatever `training_step` returned."""

        def told(output: Any, *rest: Any) -> Any:
            if isinstance(output, Mapping):
                output = {**output, "loss": output["loss"].detach()} if automatic else dict(output)
            else:
                output = {} if output is None else {"loss": output.detach() if isinstance(output, Tensor) else output}
            self._batch_is_done = True
            try:
                return hook(output, *rest)
            finally:
                self._batch_is_done = False

        return told

    def _forget(self) -> None:
        """A second `fit` of a Trainer goes on counting where the first one ended."""
        reached = self.current_epoch, self.global_step
        super()._forget()
        self.current_epoch, self.global_step = reached

    @contextmanager
    def _running(self, fn: TrainerFn, ckpt_path: str | Path | None) -> Iterator[None]:
        self._fn, self._status, self._asked_path = fn, TrainerStatus.RUNNING, ckpt_path
        try:
            yield
        except BaseException:
            self._status = TrainerStatus.INTERRUPTED
            raise
        self._status = TrainerStatus.FINISHED

    def _module_for(self, model: Any, ckpt_path: str | Path | None) -> tuple[Any, str | Path | None]:
        if model is not None:
            return self._uncompiled(model), ckpt_path
        saved = self.checkpoint_callback
        best = saved.best_model_path if saved is not None else ""
        return self.lightning_module, ckpt_path or (best or None)

    def _uncompiled(self, model: Any) -> Any:
        """`torch.compile(module)` asks for compiled steps: Leyden's own argument does that."""
        inner = getattr(model, "_orig_mod", None)
        if inner is None:
            return model
        self._choose(compile=True)
        return inner

    def _told(self, results: list[dict[str, float]], verbose: bool) -> list[dict[str, float]]:
        for index, metrics in enumerate(results if verbose else []):
            name = (self._fn or TrainerFn.TESTING).value + (f" loader {index}" if len(results) > 1 else "")
            self.say("\n".join([name, *(f"  {key:<32} {value:.6g}" for key, value in metrics.items())]))
        return results


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of the metrics that are numbers; a bar of Leyden's shows no text."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float | Tensor)}
