"""Which batches does this rank get?

Training: every rank draws the same order (seed, epoch) and takes every world-th sample (every world-th batch of a batch
sampler of the user's own, or of a list of batches); up to world-1 at the end of an epoch are left out so that all ranks
take equally many steps. Evaluation: every sample exactly once, no padding. What shards itself stays as it is (feed.py
sees to it that its ranks stop together): an IterableDataset, a sampler with `num_replicas`, an object with state_dict.
A planned loader (leyden.data.Loader) is told its rank and deals for itself: the same samples for any number of ranks.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler

from leyden.core.errors import ConfigurationError
from leyden.train import rng

Limit = int | float | None


class RankSampler(Sampler[int]):
    """Every `size`-th index of another sampler, from `rank` on; `epoch` and `seed` fix the order on all ranks."""

    def __init__(self, inner: Iterable[int], *, rank: int, size: int, even: bool, seed: int) -> None:
        self.inner, self.rank, self.size, self.even, self.seed = inner, rank, size, even, seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + self.epoch)
            order = list(self.inner)
        end = len(order) - len(order) % self.size if self.even else len(order)
        return iter(order[self.rank : end : self.size])

    def __len__(self) -> int:
        count = len(self.inner)  # type: ignore[arg-type]
        return count // self.size if self.even else len(range(self.rank, count, self.size))


class RankBatches(Sampler[list[int]]):
    """Every `size`-th batch of a batch sampler of the user's own, from `rank` on; all ranks draw the same batches.

    Python's, NumPy's and PyTorch's random numbers, and generators the batch sampler holds, are those of (seed, epoch)
    while it draws.
    """

    def __init__(self, inner: Iterable[list[int]], *, rank: int, size: int, even: bool, seed: int) -> None:
        self.inner, self.rank, self.size, self.even, self.seed = inner, rank, size, even, seed
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        before = rng.capture()
        seed = rng.seed_everything(self.seed + self.epoch)
        for owner in (self.inner, getattr(self.inner, "sampler", None)):
            if isinstance(generator := getattr(owner, "generator", None), torch.Generator):
                generator.manual_seed(seed)
        try:
            batches = list(self.inner)
        finally:
            rng.restore(before)
        return iter(_part(batches, self.rank, self.size, self.even))

    def __len__(self) -> int:
        return len(_part(range(len(self.inner)), self.rank, self.size, self.even))  # type: ignore[arg-type]


def shard(loader: Any, *, rank: int, size: int, training: bool, seed: int) -> Any:
    """The loader of this rank. Alone, or for a loader that shards itself, the loader as it is."""
    if size == 1:
        return loader
    if is_planned(loader):
        loader.shard(rank=rank, size=size)
    if isinstance(loader, list | tuple):
        return _part(loader, rank, size, training)
    if not isinstance(loader, DataLoader):
        if not hasattr(loader, "state_dict"):
            warnings.warn(
                f"a {type(loader).__name__} cannot be split over {size} ranks: every rank gets all of its batches. "
                "Use a torch DataLoader over a map-style data set.",
                stacklevel=2,
            )
        return loader
    owners = (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    if isinstance(loader.dataset, IterableDataset) or any(
        isinstance(one, RankSampler | RankBatches) or hasattr(one, "num_replicas") for one in owners
    ):
        return loader
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        batches = RankBatches(loader.batch_sampler, rank=rank, size=size, even=training, seed=seed)
        return with_samplers(loader, batch_sampler=batches)
    inner: Any = loader.sampler
    if isinstance(inner, RandomSampler) and inner.generator is not None:
        inner = copy.copy(inner)
        inner.generator = None  # the order must be the same on all ranks: it comes from (seed, epoch)
    return _with_sampler(loader, RankSampler(inner, rank=rank, size=size, even=training, seed=seed))


def is_planned(loader: Any) -> bool:
    """Whether its order is a function of its place, which is the same on all ranks: leyden.data.Loader, or one like it.

    Such a loader has `shard(rank, size)`, `place(device)`, `batches_left`, `meter`, and a state that any number of
    ranks may go on from.
    """
    return hasattr(type(loader), "batches_left")


def find_rank_sampler(loader: Any) -> RankSampler | RankBatches | None:
    """What `shard` put into the loader, if it did."""
    owners = (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    return next((one for one in owners if isinstance(one, RankSampler | RankBatches)), None)


def _part(items: Sequence[Any], rank: int, size: int, even: bool) -> Sequence[Any]:
    end = len(items) - len(items) % size if even else len(items)
    return items[rank:end:size]


def _with_sampler(loader: DataLoader[Any], sampler: Sampler[int]) -> DataLoader[Any]:
    if loader.batch_sampler is None:
        return with_samplers(loader, sampler=sampler)
    return with_samplers(
        loader, sampler=sampler, batch_sampler=BatchSampler(sampler, loader.batch_size or 1, loader.drop_last)
    )


def with_samplers(loader: DataLoader[Any], **samplers: Sampler[Any]) -> DataLoader[Any]:
    twin = copy.copy(loader)
    # DataLoader forbids these assignments after __init__; a copy keeps subclasses and all other settings as they are.
    for name, value in {**samplers, "_iterator": None}.items():
        object.__setattr__(twin, name, value)
    return twin


def unshuffled(loader: Any) -> Any:
    """The same batches in the same order every epoch, as `overfit_batches` needs them."""
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, RandomSampler):
        return loader
    return _with_sampler(loader, SequentialSampler(loader.dataset))  # type: ignore[arg-type]


def count_batches(loader: Any, limit: Limit, name: str) -> int | None:
    """Batches an epoch has under the limit (a number of them, or a share of all); None where nobody knows."""
    try:
        length: int | None = len(loader)
    except (TypeError, NotImplementedError):
        length = None
    if limit is None or (isinstance(limit, float) and limit == 1.0):
        return length
    if isinstance(limit, float):
        if length is None:
            raise ConfigurationError(
                asked=f"limit_{name}_batches={limit}",
                found="the loader has no length to take a share of",
                do="Give a whole number of batches.",
            )
        return int(length * limit)
    return limit if length is None else min(limit, length)


def explain_empty(loader: Any) -> str:
    """Why there is no batch to train on, as far as the loader tells."""
    data, batch = getattr(loader, "dataset", None), getattr(loader, "batch_size", None)
    sampler, why = getattr(loader, "sampler", None), ""
    if batch is not None and isinstance(data, Sized) and isinstance(sampler, Sized):
        many, mine = len(data), len(sampler)
        share = f" ({mine} for each of {sampler.size} ranks)" if isinstance(sampler, RankSampler) else ""
        why = f": its data set has {many} samples{share}"
        if loader.drop_last and 0 < mine < batch:
            why = f": batch_size={batch} is larger than the data, {many} samples{share}, and drop_last=True drops those"
        elif isinstance(sampler, RankSampler) and 0 < many < sampler.size:
            why = f": its data set has {many} samples, fewer than the {sampler.size} ranks"
    return f"the training loader has no batch{why}"


def as_list(loaders: Any) -> list[Any]:
    """One loader or several, as a list; a list of batches (tensors; tuples, lists or dicts of them) is one loader."""
    if loaders is None:
        return []
    if isinstance(loaders, list | tuple):
        return [loaders] if loaders and all(_is_batch(one) for one in loaders) else list(loaders)
    return [loaders]


def _is_batch(item: Any) -> bool:
    if isinstance(item, list):
        return bool(item) and isinstance(item[0], Tensor)
    return isinstance(item, Tensor | tuple | Mapping)


def mover(device: torch.device, dtype: torch.dtype | None) -> Callable[[Any], Any] | None:
    """What brings a batch to the device and the precision; None where there is nothing to do."""
    if device.type == "cpu" and dtype is None:
        return None
    return lambda batch: to_device(batch, device, dtype)


def to_device(batch: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """The batch with every tensor on the device, floating-point ones as `dtype`, in the same containers."""
    if isinstance(batch, Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else None, non_blocking=True)
    if hasattr(batch, "to") and callable(batch.to):
        return batch.to(device)
    if isinstance(batch, Mapping):
        parts = {key: to_device(value, device, dtype) for key, value in batch.items()}
        return type(batch)(parts)  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(part, device, dtype) for part in batch))
    if isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        return type(batch)(to_device(part, device, dtype) for part in batch)  # type: ignore[call-arg]
    return batch
