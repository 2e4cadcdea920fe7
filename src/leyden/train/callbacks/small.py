"""Which small things do people add: one function at one moment, predictions to a file, a last word after an error?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import SequentialSampler

from leyden.core.errors import ConfigurationError, nearest
from leyden.train.callbacks.base import Callback
from leyden.train.module import missing

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.trainer import Trainer

_MOMENTS = sorted(name for name in vars(Callback) if name in ("setup", "teardown") or name.startswith("on_"))
_INTERVALS = ("batch", "epoch", "batch_and_epoch")


class LambdaCallback(Callback):
    """Functions as hooks: `LambdaCallback(on_train_end=lambda trainer, module: print("done"))`.

    Raises ConfigurationError for a moment that does not exist.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        given = {name: hook for name, hook in hooks.items() if hook is not None}
        for name in given:
            if name not in _MOMENTS:
                raise ConfigurationError(
                    asked=f"LambdaCallback({name}=…)", found="there is no such moment", do=nearest(name, _MOMENTS)
                )
        # A class of its own: whether a hook is overridden, and so called at all, is asked of the class.
        members = {name: staticmethod(hook) for name, hook in given.items()}
        self.__class__ = type("LambdaCallback", (LambdaCallback,), members)


class BasePredictionWriter(Callback):
    """Base for writing predictions while they are made; override `write_on_batch_end` or `write_on_epoch_end`.

    `write_interval`: "batch", "epoch" or "batch_and_epoch". Every rank writes its own: put `trainer.plan.world.rank`
    into file names. `batch_indices` are the places of a batch's samples in the data set, of every batch of every loader
    at the end of the epoch; None for loaders that do not go through their data in order.
    """

    def __init__(self, write_interval: str = "batch") -> None:
        if write_interval not in _INTERVALS:
            raise ConfigurationError(
                asked=f"write_interval={write_interval!r}",
                found="it is unknown",
                do=nearest(write_interval, _INTERVALS),
            )
        self._batches, self._epochs = "batch" in write_interval, "epoch" in write_interval
        self._predictions: list[list[Any]] = []
        self._indices: list[list[Sequence[int] | None]] = []
        self._places: Iterator[Sequence[int]] = iter(())

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: Module,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write what `predict_step` returned for one batch."""
        raise missing(self, "write_on_batch_end")

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: Module,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any] | None,
    ) -> None:
        """Write all predictions: a list of batches, or with several loaders a list of such lists."""
        raise missing(self, "write_on_epoch_end")

    def on_predict_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._predictions, self._indices = [], []

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        while len(self._indices) <= dataloader_idx:
            self._indices.append([])
            self._predictions.append([])
            self._places = _places(trainer, dataloader_idx)
        indices = next(self._places, None)
        self._indices[dataloader_idx].append(indices)
        if self._batches:
            self.write_on_batch_end(trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx)
        if self._epochs:
            self._predictions[dataloader_idx].append(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self._epochs:
            found, self._predictions = self._predictions, []
            self.write_on_epoch_end(trainer, pl_module, found[0] if len(found) == 1 else found, self._indices)


def _places(trainer: Trainer, index: int) -> Iterator[Sequence[int]]:
    """The samples of each batch of a loader that goes through its data in order."""
    loader = trainer._evaluation.loaders[index] if trainer._evaluation else None
    sampler = getattr(loader, "sampler", None)
    in_order = isinstance(getattr(sampler, "inner", sampler), SequentialSampler)
    return iter(getattr(loader, "batch_sampler", None) or ()) if in_order else iter(())


class OnExceptionCheckpoint(Callback):
    """Write a checkpoint into `dirpath` when training ends with an error; a resume tries the batch it came in again.

    What a step that was under way had changed (random numbers drawn) is not undone; an accumulation window begins
    again. Of several ranks rank 0 writes, without asking the others: their random numbers and what they had gathered of
    the epoch's means begin anew on a resume. Nothing is written where each rank holds only a part of the model. A
    checkpoint that cannot be written is said; the error stays the one of training.
    """

    def __init__(self, dirpath: str | Path, filename: str = "on_exception") -> None:
        if not filename:
            raise ConfigurationError(asked="filename=''", found="it is empty", do="Leave it out.")
        self.dirpath, self.filename = Path(dirpath), filename
        self._trains = False

    @property
    def ckpt_path(self) -> str:
        """Where the checkpoint is written; an older one there is replaced."""
        return str(self.dirpath.absolute() / self.filename)

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._trains = True

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._trains = False

    def on_exception(self, trainer: Trainer, pl_module: Module, exception: BaseException) -> None:
        trains, self._trains = self._trains, False
        if trains and isinstance(exception, Exception):
            trainer._saver.rescue(trainer, Path(self.ckpt_path), exception)
