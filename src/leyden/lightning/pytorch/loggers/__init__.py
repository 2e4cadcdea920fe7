"""Lightning's loggers, over Leyden's: the same folders and files, opened when the first row comes."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from leyden.lightning.errors import not_kept
from leyden.train.loggers import csv_logs, mlflow, tensorboard, wandb
from leyden.train.loggers.base import Logger as _Logger
from leyden.train.loggers.base import Params

__all__ = ["CSVLogger", "CometLogger", "LitLogger", "Logger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"]


class _Nothing:
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None

    def __getitem__(self, index: int) -> Any:
        return self


def rank_zero_experiment(fn: Callable[..., Any]) -> Callable[..., Any]:
    """For the property `experiment` of a logger of one's own: Leyden calls loggers on rank 0 alone."""

    @functools.wraps(fn)
    def experiment(self: Any) -> Any:
        from leyden.lightning.pytorch.utilities.rank_zero import rank_zero_only

        return fn(self) if rank_zero_only.rank == 0 else _Nothing()

    return experiment


class Logger(_Logger):
    """Base of loggers."""

    @property
    def root_dir(self) -> str | None:
        """The folder of all versions."""
        return None

    @property
    def save_dir(self) -> str | None:
        """The folder given."""
        return None

    @property
    def group_separator(self) -> str:
        """Between a group's name and the rest of a metric's."""
        return "/"

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Nothing, for most."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """A checkpoint is whole."""


class _Folders(Logger):
    """What loggers that write to `save_dir/name/version_<n>` know of it."""

    _root: Path
    _name: str | None

    @property
    def root_dir(self) -> str:
        """The folder of all versions."""
        return str(self._root)

    @property
    def save_dir(self) -> str:
        """The folder given."""
        return str(self._root.parent if self._name else self._root)


class ExperimentWriter:
    """What `CSVLogger.experiment` gives: the table and the hyperparameters."""

    NAME_HPARAMS_FILE, NAME_METRICS_FILE = "hparams.yaml", "metrics.csv"

    def __init__(self, logger: CSVLogger) -> None:
        self._logger, self.log_dir = logger, logger.log_dir
        self.metrics_file_path = str(Path(self.log_dir) / self.NAME_METRICS_FILE)

    @property
    def hparams(self) -> dict[str, Any]:
        """What `log_hparams` was given."""
        return self._logger.hparams

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Into hparams.yaml."""
        self._logger.log_hyperparams(params)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """One row."""
        self._logger.log_metrics(metrics_dict, step)

    def save(self) -> None:
        """Write the rows that wait."""
        self._logger.save()


class CSVLogger(csv_logs.CSVLogger, _Folders):
    """metrics.csv and hparams.yaml in `save_dir/name/version_<n>`."""

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        super().__init__(save_dir, name, version, prefix, flush_logs_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The table and the hyperparameters."""
        return ExperimentWriter(self)

    def log_hyperparams(self, params: Params | None = None, *args: Any) -> None:
        """Into hparams.yaml."""
        super().log_hyperparams(params or {})


class TensorBoardLogger(tensorboard.TensorBoardLogger, _Folders):
    """Event files and hparams.yaml in `save_dir/name/version_<n>`."""

    NAME_HPARAMS_FILE = "hparams.yaml"
    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(save_dir, name, version, default_hp_metric, prefix, sub_dir, **kwargs)
        self._log_graph = log_graph

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """As `leyden.train.loggers.TensorBoardLogger.experiment`, on the first rank; elsewhere it does nothing."""
        return super().experiment

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """The graph of `forward`, where `log_graph=True` and there is an input or `model.example_input_array`."""
        sample = getattr(model, "example_input_array", None) if input_array is None else input_array
        if self._log_graph and sample is not None:
            self.experiment.add_graph(model, sample)

    @property
    def sub_dir(self) -> str | None:
        """The folder below the version's."""
        return self._sub_dir


class WandbLogger(wandb.WandbLogger, Logger):
    """Weights & Biases. `log_model` is refused: checkpoints stay where ModelCheckpoint writes them."""

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | Path | None = None,  # noqa: A002  Lightning's names
        id: str | None = None,  # noqa: A002
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: Any = False,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: str = "mutable",
        **kwargs: Any,
    ) -> None:
        _keep_no_models("WandbLogger", log_model)
        super().__init__(name, dir or save_dir, version, offline, id, project, experiment, prefix, **kwargs)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """As `leyden.train.loggers.WandbLogger.experiment`, on the first rank; elsewhere it does nothing."""
        return super().experiment

    @property
    def save_dir(self) -> str:
        """The folder given."""
        return str(self._save_dir)

    def log_table(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: Any = None
    ) -> None:
        """A table, from columns and rows, or from a data frame."""
        import wandb as package

        self._log(key, package.Table(columns=columns, data=data, dataframe=dataframe), step)

    def log_text(
        self, key: str, columns: Any = None, data: Any = None, dataframe: Any = None, step: Any = None
    ) -> None:
        """As `log_table`."""
        self.log_table(key, columns, data, dataframe, step)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Images: tensors, arrays, or whatever wandb.Image takes; lists in `kwargs` hold an item for each image."""
        import wandb as package

        each = [{name: values[index] for name, values in kwargs.items()} for index in range(len(images))]
        self._log(key, [package.Image(one, **more) for one, more in zip(images, each, strict=True)], step)

    def _log(self, key: str, value: Any, step: int | None) -> None:
        self.experiment.log({key: value} if step is None else {key: value, "trainer/global_step": step})


class MLFlowLogger(mlflow.MLFlowLogger, Logger):
    """MLflow. `log_model` is refused: checkpoints stay where ModelCheckpoint writes them."""

    def __init__(
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | None = "./mlruns",
        log_model: Any = False,
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
    ) -> None:
        _keep_no_models("MLFlowLogger", log_model)
        folder = save_dir or "./mlruns"
        super().__init__(
            experiment_name, run_name, tracking_uri, tags, folder, prefix, artifact_location, run_id, synchronous
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """As `leyden.train.loggers.MLFlowLogger.experiment`, on the first rank; elsewhere it does nothing."""
        return super().experiment

    @property
    def save_dir(self) -> str:
        """The folder given."""
        return str(self._save_dir)


class DummyLogger(Logger):
    """Takes everything and keeps nothing; what `fast_dev_run` puts in the place of loggers."""

    name = version = ""

    @property
    def experiment(self) -> Any:
        """Something whose every method does nothing."""
        return _Nothing()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Nothing."""

    def log_hyperparams(self, params: Params, *args: Any) -> None:
        """Nothing."""


class CometLogger(DummyLogger):
    """Refused."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise not_kept("CometLogger", "Use WandbLogger, MLFlowLogger, TensorBoardLogger or CSVLogger.")


class LitLogger(CometLogger):
    """Refused."""


def _keep_no_models(logger: str, log_model: Any) -> None:
    if log_model:
        raise not_kept(f"{logger}(log_model={log_model!r})", "Leave it out; upload best_model_path when fit is over.")


def merge_dicts(dicts: list[Mapping[str, float]], *args: Any, **kwargs: Any) -> dict[str, float]:
    """The mean of each name over the dicts that have it."""
    names = {name for one in dicts for name in one}
    return {name: sum(values := [one[name] for one in dicts if name in one]) / len(values) for name in sorted(names)}


def convert_params(params: Mapping[str, Any] | Namespace | None) -> dict[str, Any]:
    """Hyperparameters as a dict."""
    return dict(vars(params) if isinstance(params, Namespace) else params or {})
