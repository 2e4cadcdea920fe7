"""How do rows become TensorBoard's event files? Through PyTorch's own writer, opened with the first row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.train.loggers.base import FolderLogger, Params, flatten, needs, prefixed

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLogger(FolderLogger):
    """Writes event files and hparams.yaml to `save_dir/name/version_<n>`, with `sub_dir` below it where one is given.

    Hyperparameters appear on the HPARAMS page beside the metric `hp_metric`, −1 until you log it;
    `default_hp_metric=False` leaves it out. `kwargs` go to `torch.utils.tensorboard.SummaryWriter`.
    Raises ConfigurationError with the first row where the package tensorboard is not installed.
    """

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "leyden_logs",
        version: int | str | None = None,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        self._sub_dir, self._default_hp_metric, self._kwargs = sub_dir, default_hp_metric, kwargs
        self._writer: SummaryWriter | None = None
        self._next_step = 0
        self._shown: tuple[dict[str, Any], Mapping[str, float]] | None = None

    @property
    def experiment(self) -> SummaryWriter:
        """PyTorch's writer, for images, histograms and the rest."""
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise needs("TensorBoardLogger", "tensorboard", error) from error
            self._writer = SummaryWriter(self.log_dir, **self._kwargs)
        return self._writer

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A point for each metric; without a step, one more than the last."""
        step = self._next_step if step is None else step
        self._next_step = step + 1
        writer = self.experiment
        for name, value in prefixed(metrics, self._prefix).items():
            writer.add_scalar(name, value, step)

    def log_hyperparams(self, params: Params, metrics: Mapping[str, float] | None = None) -> None:
        """Keep them in hparams.yaml and on the HPARAMS page, beside `metrics`, the results they are to be judged by."""
        super().log_hyperparams(params)
        if metrics is None:
            metrics = {"hp_metric": -1.0} if self._default_hp_metric else {}
        shown = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in flatten(self.hparams).items()
        }
        if not metrics or (shown, metrics) == self._shown:  # a test after training must not reset hp_metric
            return
        self._shown = shown, metrics
        writer = self.experiment
        from torch.utils.tensorboard.summary import hparams

        self.log_metrics(metrics, 0)
        for summary in hparams(shown, dict(metrics)):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]

    def save(self) -> None:
        """Bring events to disk."""
        if self._writer is not None:
            self._writer.flush()

    def finalize(self, status: str) -> None:
        """Close the event file; a later row opens another one beside it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _folder(self) -> Path:
        path = super()._folder() / (self._sub_dir or "")
        path.mkdir(parents=True, exist_ok=True)
        return path
