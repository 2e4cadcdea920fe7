"""How are several training loaders drawn from as one?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from leyden.lightning.pytorch.utilities.combined_loader import CombinedLoader
from leyden.train.feeding.loaders import RankSampler, shard
from leyden.train.module import overrides

if TYPE_CHECKING:
    from leyden.lightning.pytorch.trainer.trainer import Trainer


class Together:
    """A CombinedLoader as Leyden's loop takes it: batches alone, each rank its share of every loader."""

    def __init__(self, loader: CombinedLoader, trainer: Trainer) -> None:
        self.loader, self.iterables, self._trainer = loader, loader.iterables, trainer
        self._shared = False

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[Any]:
        own = self._own()
        for one in own.flattened:
            if isinstance(sampler := getattr(one, "sampler", None), RankSampler):
                sampler.epoch = self._trainer.current_epoch
        return own.batches()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: its presence says that ranks take their shares here."""
        return {}

    def _own(self) -> CombinedLoader:
        if not self._shared:
            plan, self._shared = self._trainer.plan, True
            rank, size = plan.data_rank, plan.data_size if plan.use_distributed_sampler else 1
            whole = self.loader.flattened
            self.loader.flattened = [shard(one, rank=rank, size=size, training=True, seed=0) for one in whole]
        return self.loader


def combined(loaders: Any, trainer: Trainer) -> Any:
    """One loader as it is; a list or dict of them, or a CombinedLoader, drawn from together."""
    if isinstance(loaders, Mapping | list | tuple):
        loaders = CombinedLoader(loaders, "max_size_cycle")
    return Together(loaders, trainer) if isinstance(loaders, CombinedLoader) else loaders


@contextmanager
def combines(trainer: Trainer, *owners: Any) -> Iterator[None]:
    """What the owners' `train_dataloader` returns is combined inside."""
    with ExitStack() as undo:
        for owner in owners:
            if owner is not None and overrides(owner, "train_dataloader"):
                undo.enter_context(_combines(owner, trainer))
        yield


@contextmanager
def _combines(owner: Any, trainer: Trainer) -> Iterator[None]:
    original, own = owner.train_dataloader, "train_dataloader" in vars(owner)
    owner.train_dataloader = lambda: combined(original(), trainer)
    try:
        yield
    finally:
        if own:
            owner.train_dataloader = original
        else:
            del owner.train_dataloader


def one_by_one(loaders: Any) -> Any:
    """Evaluation's loaders: those of a CombinedLoader or a dict in a list, as Leyden takes them."""
    if isinstance(loaders, CombinedLoader):
        return loaders.flattened
    return list(loaders.values()) if isinstance(loaders, Mapping) else loaders
