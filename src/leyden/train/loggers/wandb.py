"""How do rows reach Weights & Biases? Through its own package, whose run starts with the first row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.train.loggers.base import Logger, Params, as_dict, needs, prefixed

if TYPE_CHECKING:
    from torch import nn
    from wandb import Run

_STEP = "trainer/global_step"  # Lightning's name for it: charts of both share an axis


class WandbLogger(Logger):
    """Sends rows to Weights & Biases, charted over `trainer/global_step`.

    `name` is shown for the run, `id` (or `version`) goes on with one, `offline=True` keeps it in `save_dir` for a later
    `wandb sync`, `experiment` is a run of yours to use; `kwargs` go to `wandb.init`. The run ends with the process, so
    that a test after training still belongs to it; `logger.experiment.finish()` ends it before.
    Raises ConfigurationError with the first row where the package wandb is not installed.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = ".",
        version: str | None = None,
        offline: bool = False,
        id: str | None = None,  # noqa: A002  wandb's and Lightning's name
        project: str | None = None,
        experiment: Run | None = None,
        prefix: str = "",
        **kwargs: Any,
    ) -> None:
        self._save_dir, self._prefix, self._run = Path(save_dir).absolute(), prefix, experiment
        self._settings: dict[str, Any] = {"name": name, "project": project, "id": id or version, "resume": "allow"}
        self._settings |= {"mode": "offline"} if offline else {}
        self._settings |= {"dir": str(self._save_dir), **kwargs}
        self._announced = False

    @property
    def experiment(self) -> Run:
        """The run, for images, tables, artifacts and the rest."""
        if self._run is None:
            try:
                import wandb
            except ImportError as error:
                raise needs("WandbLogger", "wandb", error) from error
            self._save_dir.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(**self._settings)
        if not self._announced:
            self._run.define_metric(_STEP)
            self._run.define_metric("*", step_metric=_STEP, step_sync=True)
            self._announced = True
        return self._run

    @property
    def name(self) -> str | None:
        """The project."""
        project: str | None = self._run.project if self._run is not None else self._settings["project"]
        return project

    @property
    def version(self) -> str | None:
        """The run's id; None before the first row, unless it was given."""
        version: str | None = self._run.id if self._run is not None else self._settings["id"]
        return version

    def go_on(self, version: int | str) -> None:
        """With the same run."""
        self._settings["id"] = self._settings["id"] or str(version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row; without a step it is charted over W&B's own count of rows."""
        row = prefixed(metrics, self._prefix)
        self.experiment.log(row if step is None else {**row, _STEP: step})

    def log_hyperparams(self, params: Params) -> None:
        """Into the run's config."""
        self.experiment.config.update(as_dict(params), allow_val_change=True)

    def watch(self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100) -> None:
        """Histograms of "gradients", "parameters" or "all", every `log_freq` batches; costs a hook a parameter."""
        self.experiment.watch(model, log=log, log_freq=log_freq)
