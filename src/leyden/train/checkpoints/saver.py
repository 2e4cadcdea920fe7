"""How are checkpoints written without stopping training? A thread beside it, one checkpoint at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.core.errors import CheckpointError
from leyden.train.checkpoints import checkpoint, snapshots
from leyden.train.checkpoints.staging import Staging
from leyden.train.ranks import team

if TYPE_CHECKING:
    from leyden.train.fitting import Fit
    from leyden.train.trainer import Trainer

Done = Callable[[CheckpointError | None], None]


class Saver:
    """Writes snapshots; what came of each is told on the training thread, by `poll` or `wait`."""

    def __init__(self) -> None:
        self.staging = Staging()
        self._team = team.ALONE
        self._swept = False
        self._writing: tuple[Future[None], Done] | None = None
        self.newest = (-1, -1, -1), Path()  # (epoch, batch, step) and folder of the last that training can go on from

    def save(self, fit: Fit, trainer: Trainer, path: Path, *, weights_only: bool, on_done: Done | None) -> None:
        """Write a checkpoint, in the background where `on_done` is to be told; collective over ranks."""
        self.wait()
        staging = self.staging if on_done is not None else None
        snapshot = snapshots.capture(fit, trainer, weights_only=weights_only, staging=staging)
        if not weights_only:
            self.newest = (trainer.current_epoch, fit.batch, trainer.global_step), path
        if trainer.run is not None:
            trainer.run.writer.flush()  # a resumed run has every point up to its checkpoint, whatever killed it
        if self._team.size == 1 and snapshots.writes_parts(fit):
            self._team = team.form(fit.plan.world)
        if on_done is None:
            if snapshot is not None:
                checkpoint.write(path, snapshot, self._team)
            return
        if snapshot is None:
            on_done(None)
            return
        if not self._swept:
            checkpoint.sweep_drafts(path.parent)
            self._swept = True
        thread = ThreadPoolExecutor(1, "leyden-checkpoint")
        self._writing = (thread.submit(checkpoint.write, path, snapshot, self._team, fill=self.staging.fill), on_done)
        thread.shutdown(wait=False)

    def rescue(self, trainer: Trainer, path: Path, after: Exception) -> None:
        """Write what rank 0 holds after an error, without asking the others, and say what came of it."""
        fit = trainer._fit
        if fit is None or fit.plan.world.rank != 0:
            return
        if fit.plan.sharded:
            trainer.say("no checkpoint of the error: each rank holds a part, and the others cannot be asked for theirs")
            return
        try:
            self.wait()
            snapshot = snapshots.capture(fit, trainer, alone=True)
            assert snapshot is not None
            checkpoint.write(path, snapshot)
        except Exception as error:  # whatever is broken now, the first error is the one to show
            trainer.say(f"no checkpoint of the error: {error}")
        else:
            trainer.say(f"saved {path} after {type(after).__name__}")

    def poll(self) -> None:
        """Tell what came of a checkpoint that is done."""
        if self._writing is not None and self._writing[0].done():
            self.wait()

    def settle(self) -> None:
        """Until weights may change: everything to be written has been copied."""
        self.staging.settle()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._writing is None:
            return
        (future, on_done), self._writing = self._writing, None
        try:
            future.result()
        except CheckpointError as error:
            self.staging.release()
            on_done(error)
        else:
            self.staging.release()
            on_done(None)

    def close(self) -> None:
        """Finish writing and give memory back."""
        try:
            self.wait()
        finally:
            self.staging.forget()
