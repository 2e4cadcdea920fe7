"""Which checkpoints are written and which are kept?"""

from __future__ import annotations

import itertools
import math
import re
import shutil
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.core.errors import CheckpointError, ConfigurationError, nearest
from leyden.track.checkpoints import is_pinned
from leyden.train.callbacks.base import Callback
from leyden.train.callbacks.early_stopping import check_mode, read_monitor
from leyden.train.checkpoints import checkpoint
from leyden.train.spans import read_span

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

_FIELD = re.compile(r"\{([^{}:]+)(:[^{}]*)?\}")


class ModelCheckpoint(Callback):
    """Write a checkpoint at every epoch's end, every n steps or every so often; keep the best and always the newest.

    With `monitor`, a validation in mid-epoch (`val_check_interval`) is followed by a checkpoint too, and the best
    `save_top_k` are kept (-1 keeps all). The newest is what `ckpt_path="last"` takes, `best_model_path` what
    `ckpt_path="best"` takes. `train_time_interval` is a timedelta or a string such as "30min"; ranks look at rank 0's
    clock every `log_every_n_steps` steps. `filename` is a template of metrics, "epoch" and "step", such as
    "{epoch}-{val_loss:.2f}", which becomes "epoch=3-val_loss=0.12", or with `auto_insert_metric_name=False` "3-0.12".
    `save_last` also keeps a link named "last" to the newest. `save_weights_only` leaves out what only training needs.
    `save_on_exception` writes the place before the batch in which an error came, on rank 0 without the others.

    A full disk does not end training: the checkpoints there stay whole, a warning says so, the next one is tried; only
    if the very last cannot be written does `fit` raise.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
        *,
        train_time_interval: str | timedelta | None = None,
        filename: str = "{epoch}-{step}",
        auto_insert_metric_name: bool = True,
        save_last: bool = False,
        save_weights_only: bool = False,
        save_on_exception: bool = False,
    ) -> None:
        for name, number in (("every_n_train_steps", every_n_train_steps), ("every_n_epochs", every_n_epochs)):
            if number is not None and number < 1:
                raise ConfigurationError(asked=f"{name}={number}", found="it must be 1 or more", do="Leave it out.")
        self.dirpath = Path(dirpath).absolute() if dirpath else None
        self.monitor, self.mode, self.save_top_k = monitor, check_mode(mode), save_top_k
        self.every_n_train_steps, self.every_s = every_n_train_steps, _seconds(train_time_interval)
        self.every_n_epochs = every_n_epochs or (None if every_n_train_steps or self.every_s else 1)
        self.filename, self.auto_insert_metric_name = _check_template(filename), auto_insert_metric_name
        self.save_last, self.save_weights_only, self.save_on_exception = save_last, save_weights_only, save_on_exception
        self._kept: dict[str, float] = {}  # path -> score (NaN without one), oldest first
        self._last_step = -1
        self._last_time = time.monotonic()
        self._scored = False  # a validation has run since the last checkpoint
        self._trains = False
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
        when = f"{self.every_n_train_steps}, {self.every_n_epochs}" + (f", {self.every_s:g} s" if self.every_s else "")
        return f"ModelCheckpoint({self.monitor}, {self.mode}, {when})"

    def state_dict(self) -> dict[str, Any]:
        return {"kept": dict(self._kept)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = {path: score for path, score in state_dict["kept"].items() if Path(path).exists()}

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._trains, self._last_time = True, time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._scored = not trainer.sanity_checking

    def on_checkpoint_due(self, trainer: Trainer, pl_module: Module, epoch_end: bool) -> None:
        steps, epochs = self.every_n_train_steps, self.every_n_epochs
        at_step = steps is not None and trainer.global_step % steps == 0
        at_epoch = epoch_end and epochs is not None and trainer.current_epoch % epochs == 0
        at_score = self._scored and self.monitor is not None and steps is None and self.every_s is None
        fresh = trainer.global_step != self._last_step
        at_time = fresh and self.every_s is not None and self._is_time(trainer, self.every_s)
        if (at_step and fresh) or at_epoch or at_score or at_time:
            self.save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Module, exception: BaseException) -> None:
        if self._trains and self.save_on_exception and isinstance(exception, Exception):
            folder = self.dirpath or trainer.checkpoint_dir
            trainer._saver.rescue(trainer, folder / self.format_checkpoint_name(trainer), exception)
        self._trains = False

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._trains = False
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
        path = str((self.dirpath or trainer.checkpoint_dir) / self.format_checkpoint_name(trainer))
        for version in itertools.count(1):
            if path not in self._kept or "{step" in self.filename:
                break  # else the name tells nothing of the step, and an earlier checkpoint has it
            path = re.sub(r"(-v\d+)?$", f"-v{version}", path, count=1)
        score = math.nan
        if self.monitor is not None and (self.monitor in trainer.metrics or trainer.validated):
            score = read_monitor(trainer, self.monitor, "ModelCheckpoint")
        self._kept.pop(path, None)
        self._kept[path] = score
        self._last_step, self._scored, self._last_time = trainer.global_step, False, time.monotonic()
        trainer.save_checkpoint(
            path, self.save_weights_only, on_done=lambda error: self._done(path, error, trainer.is_global_zero)
        )

    def format_checkpoint_name(self, trainer: Trainer) -> str:
        """The name of a checkpoint of this moment; a metric that has no value yet is nan."""
        values: dict[str, float] = {
            **trainer.metrics,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
        }

        def fill(found: re.Match[str]) -> str:
            name, form = found.group(1), found.group(2) or ""
            told = f"{name}=" if self.auto_insert_metric_name else ""
            return (told + format(values.get(name, math.nan), form[1:])).replace("/", "_")

        return _FIELD.sub(fill, self.filename)

    def _is_time(self, trainer: Trainer, every_s: float) -> bool:
        """Whether the interval is over; the same on all ranks."""
        over = time.monotonic() - self._last_time >= every_s
        world = trainer.plan.world
        if world.size == 1:
            return over
        return trainer.global_step % trainer.plan.log_every_n_steps == 0 and bool(world.share(over))

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
        if self.save_last and remove:
            _link(Path(path))
        if self.save_top_k < 0:
            return
        keep = {path, *self._ranked()[: self.save_top_k]}
        for one in [one for one in self._kept if one not in keep]:
            del self._kept[one]
            if remove and (Path(one) / checkpoint.MANIFEST).exists() and not is_pinned(Path(one)):
                shutil.rmtree(one, ignore_errors=True)


def _link(path: Path) -> None:
    """Let "last" beside a checkpoint mean it."""
    link, fresh = path.with_name("last"), path.with_name(".last")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(path.name)
    fresh.replace(link)


def _seconds(interval: str | timedelta | None) -> float | None:
    if interval is None:
        return None
    every_s = read_span(interval).time_s
    if not every_s:
        raise ConfigurationError(
            asked=f"train_time_interval={interval!r}",
            found="it is no time above 0",
            do='Write "30min", or a timedelta.',
        )
    return every_s


def _check_template(filename: str) -> str:
    left = _FIELD.sub("", filename)
    if not filename or "{" in left or "}" in left or "/" in left or filename.startswith("."):
        raise ConfigurationError(
            asked=f"ModelCheckpoint(filename={filename!r})",
            found="it is no name of a folder with fields such as {epoch} or {val_loss:.2f}",
            do='Use the default, "{epoch}-{step}", or something like "{epoch}-{val_loss:.2f}"; dirpath says where.',
        )
    return filename
