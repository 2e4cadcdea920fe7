"""Which checkpoints are written, under which names, and which are kept? By Lightning's rules."""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from leyden import train
from leyden.core.errors import CheckpointError, ConfigurationError
from leyden.lightning.errors import MisconfigurationException
from leyden.train.callbacks.early_stopping import check_mode, read_monitor

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer

_FIELD = re.compile(r"\{([^{}:]+)(:[^{}]*)?\}")


class Checkpoint(train.Callback):
    """Base of what writes checkpoints."""


class ModelCheckpoint(train.ModelCheckpoint, Checkpoint):
    """Lightning's names (`epoch=0-step=8.ckpt`, in `lightning_logs/version_<n>/checkpoints`) and rules of keeping.

    What is written is Leyden's folder, in the background, at moments from which training resumes exactly: after a step
    or after a whole epoch. Under a Leyden job the folder is the run's own, so that the job finds it again.
    """

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1
    best_model_path: str = ""
    last_model_path: str = ""
    best_model_score: Tensor | None = None  # type: ignore[assignment]
    filename: Any
    save_last: Any

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | str | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        check_mode(mode)
        _check(monitor, save_top_k, every_n_train_steps, every_n_epochs, train_time_interval)
        self.dirpath: Any = os.path.abspath(dirpath) if dirpath else None  # noqa: PTH100  text, as Lightning has it
        self.filename, self.monitor, self.verbose, self.mode = filename, monitor, verbose, mode
        self.save_last, self.save_top_k, self.save_on_exception = save_last, save_top_k, save_on_exception
        self.save_weights_only, self.auto_insert_metric_name = save_weights_only, auto_insert_metric_name
        self._train_time_interval = train_time_interval
        alone = not every_n_train_steps and every_n_epochs is None and train_time_interval is None
        self._every_n_train_steps = every_n_train_steps or 0
        self._every_n_epochs = 1 if alone else every_n_epochs or 0
        self._save_on_train_epoch_end, self._enable_version_counter = save_on_train_epoch_end, enable_version_counter
        self.best_k_models: dict[str, Tensor] = {}
        self.kth_best_model_path = ""
        self.current_score: Tensor | None = None
        self.kth_value = torch.tensor(math.inf if mode == "min" else -math.inf)
        self._last_step, self._validated, self._off = -1, False, False
        self._trains, self._last_time = False, time.monotonic()
        self._failure: CheckpointError | None = None

    @property
    def every_n_epochs(self) -> int | None:  # type: ignore[override]
        """As given, or 1 where nothing else says when."""
        return self._every_n_epochs

    @property
    def state_key(self) -> str:
        told: dict[str, Any] = {
            "monitor": self.monitor,
            "mode": self.mode,
            "every_n_train_steps": self._every_n_train_steps,
        }
        told |= {"every_n_epochs": self._every_n_epochs, "train_time_interval": self._train_time_interval}
        return f"{type(self).__qualname__}{told!r}"

    def state_dict(self) -> dict[str, Any]:
        names = ("monitor", "best_model_score", "best_model_path", "current_score", "best_k_models", "kth_value")
        kept = {name: getattr(self, name) for name in (*names, "kth_best_model_path", "last_model_path")}
        return {**kept, "best_k_models": dict(self.best_k_models), "dirpath": str(self.dirpath)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_model_path = state_dict["best_model_path"]
        if state_dict["dirpath"] == str(self.dirpath):
            for name in ("best_model_score", "kth_best_model_path", "kth_value", "last_model_path"):
                setattr(self, name, state_dict[name])
            self.best_k_models = dict(state_dict["best_k_models"])

    # Moments --------------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:  # type: ignore[override]
        self._off = trainer.fast_dev_run
        if self.dirpath is None:
            self.dirpath = trainer.strategy.broadcast(str(_folder(trainer)))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        self._validated = not trainer.sanity_checking

    def on_checkpoint_due(self, trainer: Trainer, pl_module: Any, epoch_end: bool) -> None:  # type: ignore[override]
        if self._off:
            return
        step, epoch = trainer.global_step, trainer.current_epoch - epoch_end
        at_step = self._every_n_train_steps > 0 and step % self._every_n_train_steps == 0 and not epoch_end
        at_time = self._train_time_interval is not None and self._time_is_over(trainer)
        here = (epoch_end and self._saves_after_training(trainer)) or (
            self._validated and not self._saves_after_training(trainer)
        )
        at_epoch = here and self._every_n_epochs > 0 and (epoch + 1) % self._every_n_epochs == 0
        if epoch_end or at_epoch:
            self._validated = False
        if (at_step or at_time or at_epoch) and step != self._last_step:
            self._last_step, self._last_time = step, time.monotonic()
            self._save(trainer, epoch)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        self._trains, self._last_time = True, time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:  # type: ignore[override]
        self._trains = False
        if self._off:
            return
        within = trainer._fit is not None and trainer._fit.batch > 0 and trainer.global_step != self._last_step
        if within and trainer.global_step != trainer.choices.max_steps:
            self._save_place(trainer)
        elif within and self._every_n_epochs > 0:
            self._save(trainer, trainer.current_epoch)
        elif self.save_last and not self.last_model_path:
            self._save_last(trainer, self._candidates(trainer, trainer.current_epoch), "")
        trainer.wait_for_checkpoints()
        if self._failure is not None:
            raise self._failure

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:  # type: ignore[override]
        if self._trains and self.save_on_exception and isinstance(exception, Exception) and not self._off:
            path = self._path(self._candidates(trainer, trainer.current_epoch), trainer)
            trainer._saver.rescue(trainer, Path(path), exception)
        self._trains = False

    # Keeping --------------------------------------------------------------------------------------------------------

    def _save(self, trainer: Trainer, epoch: int) -> None:
        candidates = self._candidates(trainer, epoch)
        saved = ""
        if self.save_top_k != 0:
            saved = (
                self._save_newest(trainer, candidates) if self.monitor is None else self._save_best(trainer, candidates)
            )
        if self.save_last:
            self._save_last(trainer, candidates, saved)

    def _save_place(self, trainer: Trainer) -> None:
        """Training was broken off, by a signal or a callback: keep the place, whatever its score."""
        self.last_model_path = self._path(self._candidates(trainer, trainer.current_epoch), trainer)
        self._write(trainer, self.last_model_path, set())

    def _save_newest(self, trainer: Trainer, candidates: dict[str, Any]) -> str:
        path = self._path(candidates, trainer, replaces=self.best_model_path)
        before, self.best_model_path = self.best_model_path, path
        self._write(trainer, path, {before} - {path, ""} if self.save_top_k == 1 else set())
        return path

    def _save_best(self, trainer: Trainer, candidates: dict[str, Any]) -> str:
        monitor = str(self.monitor)
        if monitor not in candidates:
            if trainer.validated:
                read_monitor(trainer, monitor, type(self).__name__)  # raises, and lists what there is
            return ""
        score = torch.as_tensor(candidates[monitor])
        if not self.check_monitor_top_k(trainer, score):
            return ""
        self.current_score = score
        score = torch.where(score.isnan(), math.inf if self.mode == "min" else -math.inf, score)
        dropped = self.kth_best_model_path if len(self.best_k_models) == self.save_top_k else ""
        if dropped:
            del self.best_k_models[dropped]
        path = self._path(candidates, trainer, replaces=dropped)
        self.best_k_models[path] = score
        ranked = sorted(self.best_k_models, key=lambda one: float(self.best_k_models[one]), reverse=self.mode == "max")
        self.best_model_path, self.best_model_score = ranked[0], self.best_k_models[ranked[0]]
        if len(ranked) == self.save_top_k:
            self.kth_best_model_path, self.kth_value = ranked[-1], self.best_k_models[ranked[-1]]
        if self.verbose:
            trainer.say(
                f"{monitor} reached {float(score):.5f} (best {float(self.best_model_score):.5f}): saving {path}"
            )
        self._write(trainer, path, {dropped} - {path, ""})
        return path

    def _save_last(self, trainer: Trainer, candidates: dict[str, Any], saved: str) -> None:
        name = self.format_checkpoint_name(candidates, self.CHECKPOINT_NAME_LAST)
        path = str(Path(self.dirpath) / name)
        before, self.last_model_path = self.last_model_path, path
        dropped = {before} - {path, ""}
        if not saved:
            self._write(trainer, path, dropped)
            return
        trainer.wait_for_checkpoints()
        if trainer.is_global_zero:
            for old in (*dropped, path):
                _remove(Path(old))
            if self.save_last == "link":
                Path(path).symlink_to(os.path.relpath(saved, Path(path).parent))
            else:
                shutil.copytree(saved, path, copy_function=os.link)  # nobody changes a checkpoint's files: no copy

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether a checkpoint with this score would be among the best."""
        if current is None:
            return False
        if self.save_top_k == -1 or len(self.best_k_models) < self.save_top_k:
            return True
        worst = self.best_k_models[self.kth_best_model_path]
        return bool(current < worst if self.mode == "min" else current > worst)

    def _write(self, trainer: Trainer, path: str, dropped: set[str]) -> None:
        def done(error: CheckpointError | None) -> None:
            self._failure = error
            if error is not None:
                trainer.say(f"{error} Training goes on without this checkpoint.")
                return
            for old in dropped if trainer.is_global_zero else ():
                if Path(old).parent == Path(path).parent and old != str(trainer.ckpt_path):  # another run's stay
                    _remove(Path(old))
            for logger in trainer.loggers if trainer.is_global_zero else ():
                if hasattr(logger, "after_save_checkpoint"):
                    logger.after_save_checkpoint(self)

        trainer.save_checkpoint(path, self.save_weights_only, on_done=done)

    # Names ----------------------------------------------------------------------------------------------------------

    def format_checkpoint_name(  # type: ignore[override]  # Lightning's arguments
        self, metrics: Mapping[str, Any], filename: str | None = None, ver: int | None = None, prefix: str | None = None
    ) -> str:
        """The name of a checkpoint: `{name:format}` in the template stands for a metric, a missing one being 0."""
        template = filename or self.filename or self.CHECKPOINT_JOIN_CHAR.join(("{epoch}", "{step}"))

        def fill(found: re.Match[str]) -> str:
            name, value = found[1], metrics.get(found[1], 0)
            text = format(value.item() if isinstance(value, Tensor) else value, (found[2] or ":")[1:])
            return f"{name}{self.CHECKPOINT_EQUALS_CHAR}{text}" if self.auto_insert_metric_name else text

        name = _FIELD.sub(fill, template)
        name = name if prefix is None else self.CHECKPOINT_JOIN_CHAR.join((prefix, name))
        name = name if ver is None else f"{name}{self.CHECKPOINT_JOIN_CHAR}v{ver}"
        name += self.FILE_EXTENSION
        return name if self.dirpath is None else str(Path(self.dirpath) / name)

    def _path(self, candidates: dict[str, Any], trainer: Trainer, replaces: str = "") -> str:
        path, version = self.format_checkpoint_name(candidates), self.STARTING_VERSION
        while self._enable_version_counter and path != replaces and self.file_exists(path, trainer):
            path = self.format_checkpoint_name(candidates, ver=version)
            version += 1
        return path

    def file_exists(self, filepath: str | Path, trainer: Trainer) -> bool:
        """Whether the first rank sees a checkpoint there. Collective."""
        return bool(trainer.strategy.broadcast(Path(filepath).exists() or str(filepath) in self.best_k_models))

    def to_yaml(self, filepath: str | Path | None = None) -> None:
        """Write the best checkpoints with their scores."""
        kept = {path: float(score) for path, score in self.best_k_models.items()}
        target = Path(filepath) if filepath else Path(self.dirpath) / "best_k_models.yaml"
        target.write_text(yaml.safe_dump(kept))

    def _candidates(self, trainer: Trainer, epoch: int) -> dict[str, Any]:
        return {**trainer.callback_metrics, "epoch": epoch, "step": trainer.global_step}

    def _saves_after_training(self, trainer: Trainer) -> bool:
        """Whether epochs end with the training's, not the validation's, end."""
        if self._save_on_train_epoch_end is not None:
            return self._save_on_train_epoch_end
        if trainer.choices.check_val_every_n_epoch != 1:
            return False
        validates = bool(trainer.num_val_batches)
        return not validates or trainer.choices.val_check_interval == 1.0

    def _time_is_over(self, trainer: Trainer) -> bool:
        every_s = self._train_time_interval.total_seconds() if self._train_time_interval else 0.0
        return bool(trainer.strategy.broadcast(time.monotonic() - self._last_time >= every_s))


def _folder(trainer: Trainer) -> Path:
    if "LEYDEN_RUN_DIR" in os.environ or "LEYDEN_CHECKPOINT_DIR" in os.environ:
        return trainer.checkpoint_dir
    logger = trainer.logger
    if logger is None or not trainer.is_global_zero:
        return Path(trainer.default_root_dir) / "checkpoints"
    if logger.log_dir is not None:
        return Path(logger.log_dir) / "checkpoints"
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    root = getattr(logger, "save_dir", None) or trainer.default_root_dir
    return Path(root) / str(logger.name) / version / "checkpoints"


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _check(monitor: Any, top_k: int, steps: int | None, epochs: int | None, interval: timedelta | None) -> None:
    for name, number, least in (
        ("save_top_k", top_k, -1),
        ("every_n_train_steps", steps, 0),
        ("every_n_epochs", epochs, 0),
    ):
        if number is not None and number < least:
            raise ConfigurationError(asked=f"{name}={number}", found=f"it is below {least}", do="Leave it out.")
    if monitor is None and top_k not in (-1, 0, 1):
        raise MisconfigurationException(
            asked=f"ModelCheckpoint(save_top_k={top_k})", found="without monitor none is the best", do="Give a monitor."
        )
    if sum(bool(one) for one in (steps, epochs, interval)) > 1:
        raise MisconfigurationException(
            asked="every_n_train_steps, every_n_epochs and train_time_interval",
            found="they exclude each other",
            do="Use several ModelCheckpoints.",
        )
