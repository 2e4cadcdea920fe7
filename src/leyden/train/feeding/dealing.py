"""How does another number of ranks finish an epoch that was begun by some? Each of its samples is seen once.

All ranks together have trained on the first so many samples of the epoch's order. The order can be had again: it comes
from (seed, epoch), or, where one rank drew it alone, from the random numbers it began the epoch with. The rest of it is
dealt to the ranks that are there now. A batch sampler of the user's own is dealt by batches instead of samples.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from leyden.core.errors import CheckpointError
from leyden.train import rng
from leyden.train.feeding.loaders import RankBatches, RankSampler, find_rank_sampler, with_samplers


@dataclass(frozen=True, kw_only=True)
class Deal:
    """An epoch's order and how much of it was done when it was dealt anew."""

    taken: int
    at: int  # the number of the first batch after that
    seed: int | None  # of the order; None where one rank drew it
    origin: Mapping[str, Any] | None  # what that rank began the epoch with


class _Indices(Dataset[int]):
    """Each index stands for its sample."""

    def __getitem__(self, index: int) -> int:
        return index


def unit(loader: Any) -> int:
    """How far a batch goes in the order: so many samples, or one batch of the user's own batch sampler."""
    inner = getattr(loader, "batch_sampler", None)
    return 1 if isinstance(inner, RankBatches) or type(inner) is not BatchSampler else int(inner.batch_size)


def deal_again(feed: Mapping[str, Any], batch: int, ranks: int) -> Deal:
    """The deal of an epoch that so many ranks broke off after `batch` batches; `feed`: the state of rank 0's feed."""
    seed = feed.get("seed")
    before = Deal(**feed["deal"]) if "deal" in feed else None
    if before is None:
        before = Deal(taken=0, at=0, seed=seed, origin=feed["start"] if seed is None else None)
    return replace(before, taken=before.taken + ranks * feed["unit"] * (batch - before.at), at=0)


def check(loader: Any, feed: Mapping[str, Any], path: Path, before: int, now: int) -> None:
    """Raise CheckpointError where the order is not Leyden's to divide, for the ranks before or for those now."""
    ours = isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset) and "loader" not in feed
    if not ours or (before > 1 and "seed" not in feed) or (now > 1 and find_rank_sampler(loader) is None):
        raise CheckpointError(
            asked=f"training was to go on from {path}, in the middle of an epoch, with {now} ranks",
            found=f"it was written by {before}, and its {type(loader).__name__} keeps a place of its own on each rank",
            do=f"Use devices={before}, a checkpoint from the end of an epoch, or only the weights.",
        )


def rest(loader: DataLoader[Any], deal: Deal, epoch: int) -> DataLoader[Any]:
    """This rank's share of what is left of the epoch."""
    mine = find_rank_sampler(loader)
    rank, size = (mine.rank, mine.size) if mine else (0, 1)
    if isinstance(mine, RankBatches) or (mine is None and type(loader.batch_sampler) not in (BatchSampler, type(None))):
        inner: Any = mine.inner if mine else loader.batch_sampler
        batches = _order(loader, inner, deal, epoch, batched=True)[deal.taken :]
        return with_samplers(loader, batch_sampler=RankBatches(batches, rank=rank, size=size, even=True, seed=0))
    left = _order(loader, mine.inner if mine else loader.sampler, deal, epoch, batched=False)[deal.taken :]
    sampler = RankSampler(left, rank=rank, size=size, even=True, seed=0)
    if loader.batch_sampler is None:
        return with_samplers(loader, sampler=sampler)
    again = BatchSampler(sampler, loader.batch_size or 1, loader.drop_last)
    return with_samplers(loader, sampler=sampler, batch_sampler=again)


def _order(loader: DataLoader[Any], inner: Any, deal: Deal, epoch: int, *, batched: bool) -> list[Any]:
    """The whole epoch's order, as it was drawn."""
    if deal.seed is not None:
        kind = RankBatches if batched else RankSampler
        whole = kind(inner, rank=0, size=1, even=False, seed=deal.seed)
        whole.epoch = epoch
        return list(whole)
    assert deal.origin is not None
    own = None  # a generator of the loader's or the sampler's, where it stood
    if deal.origin["generators"]:
        own = torch.Generator()
        own.set_state(deal.origin["generators"][0])
        if hasattr(inner, "generator"):
            inner = copy.copy(inner)
            inner.generator = own
    before = rng.capture()
    rng.restore(dict(deal.origin["rng"]))
    try:
        if deal.origin["again"]:  # workers that were there already need no seed
            return list(inner)
        # By a loader like the one that drew it, whose other draws come before.
        twin: DataLoader[Any] = DataLoader(
            _Indices(),
            batch_size=None,
            sampler=inner,
            collate_fn=_as_it_is,
            generator=own if loader.generator is not None else None,
        )
        return list(twin)
    finally:
        rng.restore(before)


def _as_it_is(item: Any) -> Any:
    return item
