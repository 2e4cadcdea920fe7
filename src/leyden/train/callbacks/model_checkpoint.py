"""Which checkpoints are written and which are kept?"""

from __future__ import annotations

import math
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.core.errors import CheckpointError, ConfigurationError, nearest
from leyden.train import checkpoint
from leyden.train.callbacks.base import Callback
from leyden.train.callbacks.early_stopping import check_mode, read_monitor

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class ModelCheckpoint(Callback):
    """Write a checkpoint at every epoch's end, or every n steps; keep the best `save_top_k` and always the newest.

    With `monitor`, a validation in mid-epoch (`val_check_interval`) is followed by a checkpoint too.

    Without `monitor` only the newest is kept (`save_top_k=-1` keeps all). The newest is what `ckpt_path="last"` takes,
    `best_model_path` what `ckpt_path="best"` takes. A full disk does not end training: the checkpoints there stay
    whole, a warning says so, the next one is tried; only if the very last cannot be written does `fit` raise.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
    ) -> None:
        for name, number in (("every_n_train_steps", every_n_train_steps), ("every_n_epochs", every_n_epochs)):
            if number is not None and number < 1:
                raise ConfigurationError(asked=f"{name}={number}", found="it must be 1 or more", do="Leave it out.")
        self.dirpath = Path(dirpath).absolute() if dirpath else None
        self.monitor, self.mode, self.save_top_k = monitor, check_mode(mode), save_top_k
        self.every_n_train_steps = every_n_train_steps
        self.every_n_epochs = every_n_epochs or (None if every_n_train_steps else 1)
        self._kept: dict[str, float] = {}  # path -> score (NaN without one), oldest first
        self._last_step = -1
        self._scored = False  # a validation has run since the last checkpoint
        self._failure: CheckpointError | None = None

    @property
    def best_model_path(self) -> str:
        """The best by `monitor`; the newest where nothing is monitored; "" where there is none."""
        ranked = self._ranked()
        return ranked[0] if ranked else self.last_model_path if self.monitor is None else ""

    @property
    def best_model_score(self) -> float | None:
        """The score of `best_model_path`."""
        ranked = self._ranked()
        return self._kept[ranked[0]] if ranked else None

    @property
    def last_model_path(self) -> str:
        """The newest; "" where there is none."""
        return next(reversed(self._kept), "")

    @property
    def state_key(self) -> str:
        """Several in one Trainer are told apart by what they watch and when."""
        return f"ModelCheckpoint({self.monitor}, {self.mode}, {self.every_n_train_steps}, {self.every_n_epochs})"

    def state_dict(self) -> dict[str, Any]:
        return {"kept": dict(self._kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = {path: score for path, score in state_dict["kept"].items() if Path(path).exists()}

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._scored = not trainer.sanity_checking

    def on_checkpoint_due(self, trainer: Trainer, pl_module: Module, epoch_end: bool) -> None:
        steps, epochs = self.every_n_train_steps, self.every_n_epochs
        at_step = steps is not None and trainer.global_step % steps == 0
        at_epoch = epoch_end and epochs is not None and trainer.current_epoch % epochs == 0
        at_score = self._scored and self.monitor is not None and steps is None
        if (at_step and trainer.global_step != self._last_step) or at_epoch or at_score:
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self._last_step != trainer.global_step and trainer.global_step > 0:
            self.save(trainer)
        trainer.wait_for_checkpoints()
        if self._failure is not None:
            raise self._failure
        if self.monitor is not None and not self._ranked():
            warnings.warn(
                f"ModelCheckpoint(monitor={self.monitor!r}) never saw that metric, so no checkpoint is the best one. "
                f"Log it in validation_step; {nearest(self.monitor, trainer.metrics)}",
                stacklevel=2,
            )

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint of this moment; the writing itself goes on in the background."""
        trainer.wait_for_checkpoints()
        folder = self.dirpath or trainer.checkpoint_dir
        path = str(folder / f"epoch={trainer.current_epoch}-step={trainer.global_step}")
        score = math.nan
        if self.monitor is not None and (self.monitor in trainer.metrics or trainer.validated):
            score = read_monitor(trainer, self.monitor, "ModelCheckpoint")
        self._kept.pop(path, None)
        self._kept[path] = score
        self._last_step, self._scored = trainer.global_step, False
        trainer.save_checkpoint(path, on_done=lambda error: self._done(path, error, trainer.is_global_zero))

    def _ranked(self) -> list[str]:
        """Checkpoints with a score, best first; the earlier one where scores are equal."""
        scored = [path for path, score in self._kept.items() if not math.isnan(score)]
        return sorted(scored, key=self._kept.__getitem__, reverse=self.mode == "max")

    def _done(self, path: str, error: CheckpointError | None, remove: bool) -> None:
        """The checkpoint is whole, and those it makes superfluous can go; or it failed, and all others stay."""
        self._failure = error
        if error is not None:
            del self._kept[path]
            warnings.warn(f"{error} Training goes on without this checkpoint.", stacklevel=2)
            return
        if self.save_top_k < 0:
            return
        keep = {path, *self._ranked()[: self.save_top_k]}
        for one in [one for one in self._kept if one not in keep]:
            del self._kept[one]
            if remove and (Path(one) / checkpoint.MANIFEST).exists():
                shutil.rmtree(one, ignore_errors=True)
