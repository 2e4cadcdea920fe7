"""How does a trial of a sweep stand aside at its rung, and go on from there if it is let?"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from leyden.core.errors import CheckpointError, nearest
from leyden.track.checkpoints import MANIFEST, is_pinned, remove
from leyden.track.trial import Then, Trial
from leyden.train.callbacks.base import Callback

if TYPE_CHECKING:
    from pathlib import Path

    from leyden.train.module import Module
    from leyden.train.trainer import Trainer


class Rungs(Callback):
    """Ask the sweep, once training has come as far as the trial may and its metric has been measured there.

    A checkpoint of exactly that moment is on disk before rank 0 asks. Told to pause, every rank leaves `fit` with exit
    code 76; told to go on, training does, to the next budget; told to end, `fit` returns. The Trainer adds this by
    itself where LEYDEN_TRIAL_BUDGET is set. Epochs count once they are whole, steps are `trainer.global_step`. Training
    that is over anyway is not paused. Where a checkpoint of a rung is resumed and the sweep has not let it go further,
    it is asked again, without training.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._fresh = False  # a validation has run since the last moment that a checkpoint may be of
        self._by_step: bool | None = None  # whether the metric has a value of its own at every step
        self._asked: tuple[int, int, int] | None = None  # the place it was asked at last
        self._left: dict[str, Any] = {}  # what was measured where the checkpoint was written that training began from
        self._own = ""  # the checkpoint that no ModelCheckpoint knows of
        self._warned = False
        self._running: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        trainer, own = self._running, {"own": self._own} if self._own else {}
        value = self._measured(trainer, _is_epoch_end(trainer)) if trainer else None
        if value is None or trainer is None:
            return own
        return {"unit": self._trial.unit, "resource": self._resource(trainer), "value": value, **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._left, self._own = dict(state_dict), state_dict.get("own", "")

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._running, self._fresh, self._asked, self._by_step = trainer, False, None, None
        left, self._left = self._left, {}
        if left.get("unit") == self._trial.unit and self._trial.reached(left["resource"]):
            self._ask(trainer, left["resource"], left["value"])

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._fresh = trainer.stage == "fit" and not trainer.sanity_checking

    def on_checkpoint_due(self, trainer: Trainer, pl_module: Module, epoch_end: bool) -> None:
        resource = self._resource(trainer)
        if self._trial.reached(resource) and self._may_be_measured(trainer, epoch_end):
            value = trainer.plan.world.share(self._measured(trainer, epoch_end))
            if value is not None:
                self._save_and_ask(trainer, resource, value)
            elif epoch_end and (trainer.validated or not trainer.val_dataloaders):
                self._warn(trainer)
        self._fresh = False

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        resource, stage = self._resource(trainer), trainer._stage
        if self._trial.reached(resource) and self._asked != place(trainer) and not (stage and stage.signal):
            value = trainer.plan.world.share(trainer.metrics.get(self._trial.metric))
            if value is not None:
                self._save_and_ask(trainer, resource, value)
            else:
                self._warn(trainer)

    def teardown(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        self._running = None

    def _resource(self, trainer: Trainer) -> int:
        return trainer.current_epoch if self._trial.unit == "epoch" else trainer.global_step

    def _may_be_measured(self, trainer: Trainer, epoch_end: bool) -> bool:
        """Whether ranks are to look together; the same on all of them."""
        if epoch_end or self._trial.unit == "epoch":
            return epoch_end or self._fresh
        fit = trainer._fit
        if fit is None or fit.batch == fit.feed.batches:
            return False  # the epoch ends with this step, and what is measured there counts
        if self._by_step is None:
            self._by_step = bool(trainer.plan.world.share(fit.book.each_step(self._trial.metric)))
        return self._fresh or self._by_step

    def _measured(self, trainer: Trainer, epoch_end: bool) -> float | None:
        """The metric's value, if it is one of this moment."""
        name = self._trial.metric
        now = self._fresh if name in trainer.eval_metrics else epoch_end or bool(self._by_step)
        return trainer.metrics.get(name) if now else None

    def _save_and_ask(self, trainer: Trainer, resource: int, value: float) -> None:
        if self._is_saved(trainer) or self._save(trainer):
            self._ask(trainer, resource, value)

    def _ask(self, trainer: Trainer, resource: int, value: float) -> None:
        """Rank 0 asks, all live by the answer. Collective."""
        trial, world, plan = self._trial, trainer.plan.world, trainer.plan
        at, told = f"{trial.unit} {resource}", f"{trial.metric} {value:.4g}"
        self._asked = place(trainer)
        answer = world.share(trial.ask(resource, {trial.metric: value}) if world.rank == 0 else None)
        trial.take(answer)
        why = f" ({answer.why})" if answer.why else ""
        over = world.any(trainer._has_stopped(plan)) or plan.max_epochs == trainer.current_epoch
        if answer.then is Then.GO_ON:
            trainer.say(f"rung at {at}, {told}: goes on to {trial.unit} {trial.most:g}")
        elif answer.then is Then.END:
            trainer.say(f"rung at {at}, {told}: the sweep asks for no more")
            trainer.should_stop = True
        elif over or plan.max_steps == trainer.global_step:
            trainer.say(f"rung at {at}, {told}: training ends here by itself{why}")
        else:
            trainer.say(f"rung at {at}, {told}: paused, until the sweep lets it go on{why}")
        if trainer._stage is not None and not (over or answer.then is Then.GO_ON):
            trainer._stage.leave(pausing=answer.then is Then.PAUSE)

    def _is_saved(self, trainer: Trainer) -> bool:
        """Whether the newest checkpoint is whole, of this very place, and where a resume looks for it. Collective."""
        trainer.wait_for_checkpoints()
        where, path = trainer._saver.newest
        here = where == place(trainer) and path.parent == trainer.checkpoint_dir and (path / MANIFEST).exists()
        return bool(trainer.plan.world.share(here))

    def _save(self, trainer: Trainer) -> bool:
        """Write it, by a ModelCheckpoint that keeps what can be resumed if there is one; False where that failed."""
        saves = trainer.checkpoint_callback
        if saves is not None and trainer.plan.world.share(
            not saves.save_weights_only
            and saves.dirpath in (None, trainer.checkpoint_dir)
            and (saves.monitor is None or saves.monitor in trainer.metrics or not trainer.validated)
        ):
            saves.save(trainer)
            return self._is_saved(trainer)
        path = trainer.checkpoint_dir / f"epoch={trainer.current_epoch}-step={trainer.global_step}"
        before, self._own = self._own, str(path)
        try:
            trainer.save_checkpoint(path)
        except CheckpointError as error:
            warnings.warn(f"{error} Training goes on without asking the sweep.", stacklevel=2)
        if not self._is_saved(trainer):
            self._own = before
            return False
        if before and before != str(path) and trainer.is_global_zero:
            _remove(path.with_name(before.rpartition("/")[2]))
        return True

    def _warn(self, trainer: Trainer) -> None:
        """Of a metric that has no value at all; one that has is only not measured yet."""
        name = self._trial.metric
        if not self._warned and trainer.is_global_zero and name not in trainer.metrics:
            self._warned = True
            warnings.warn(
                f"the sweep compares trials by {name!r}, which was never logged: this one is not paused. "
                f"Log it in validation_step; {nearest(name, trainer.metrics)}",
                stacklevel=2,
            )


def place(trainer: Trainer) -> tuple[int, int, int]:
    """Where training stands: epoch, batch, step."""
    return trainer.current_epoch, trainer._fit.batch if trainer._fit else 0, trainer.global_step


def _is_epoch_end(trainer: Trainer) -> bool:
    return trainer._fit is not None and trainer._fit.batch == 0


def _remove(path: Path) -> None:
    if (path / MANIFEST).exists() and not is_pinned(path):
        remove(path.parent, path.name)
