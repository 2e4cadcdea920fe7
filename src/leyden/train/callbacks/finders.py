"""How are learning rate and batch size found at the beginning of `fit`?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leyden.train.callbacks.base import Callback
from leyden.train.tuning.rates import LRSearch, LRSweep
from leyden.train.tuning.sizes import SizeSearch
from leyden.train.tuning.trial import holders

if TYPE_CHECKING:
    from leyden.train.module import Module
    from leyden.train.session import Session
    from leyden.train.trainer import Trainer


class LearningRateFinder(Callback):
    """Set the learning rate by a range test before training; the sweep is in `optimal_lr`.

    A resumed run keeps its checkpoint's. `lr_find(trainer, pl_module)` may be called again between epochs: it then sets
    the rate of the running optimizer too. See `Tuner.lr_find`.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training_steps: int = 100,
        mode: str = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        self._search = LRSearch(
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=num_training_steps,
            mode=mode,
            early_stop_threshold=early_stop_threshold,
            update_attr=update_attr,
            attr_name=attr_name,
        )
        self.optimal_lr: LRSweep | None = None

    def lr_find(self, trainer: Trainer, pl_module: Module) -> None:
        """Search in the midst of training, between two epochs."""
        fit = trainer._fit
        if fit is None:
            return
        self.optimal_lr = self._search.run(trainer, fit.session, fit.feed.loader)
        found = self.optimal_lr.suggestion() if self.optimal_lr and self._search.update_attr else None
        if found is not None:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = found

    def find(self, trainer: Trainer, session: Session, train: Any) -> None:
        """Search before the first optimizer is made."""
        self.optimal_lr = self._search.run(trainer, session, train)


class BatchSizeFinder(Callback):
    """Set `batch_size` before training to the largest that fits the memory of every rank; it is `optimal_batch_size`.

    A resumed run keeps the one it was started with. See `Tuner.scale_batch_size`.
    """

    def __init__(
        self,
        mode: str = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int = 8192,
    ) -> None:
        self._search = SizeSearch(
            mode=mode,
            steps_per_trial=steps_per_trial,
            init_val=init_val,
            max_trials=max_trials,
            batch_arg_name=batch_arg_name,
            margin=margin,
            max_val=max_val,
        )
        self.optimal_batch_size: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"optimal_batch_size": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimal_batch_size = state_dict["optimal_batch_size"]

    def find(self, trainer: Trainer, session: Session, train: Any) -> None:
        """Search before the loaders are made."""
        self.optimal_batch_size = self._search.run(trainer, session)

    def recall(self, session: Session, state: Mapping[str, Any]) -> None:
        """Set what the run that wrote this state had found."""
        for one in holders(session, self._search.batch_arg_name):
            if state.get("optimal_batch_size"):
                setattr(one, self._search.batch_arg_name, state["optimal_batch_size"])


def search(trainer: Trainer, session: Session, train: Any, states: Mapping[str, Any] | None) -> None:
    """Let finders find, or in a resumed run, whose callbacks' states are given, set what they had found."""
    for one in session.callbacks:
        if states is None and isinstance(one, LearningRateFinder | BatchSizeFinder):
            one.find(trainer, session, train)
        elif states is not None and isinstance(one, BatchSizeFinder):
            one.recall(session, states.get(one.state_key, {}))
