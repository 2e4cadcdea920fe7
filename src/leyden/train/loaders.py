"""Which batches does this rank get, and how does a resumed epoch find its place?

Training: every rank draws the same order (seed, epoch) and takes every world-th sample; up to world-1 samples at
the end of an epoch are left out so that all ranks take equally many steps. Evaluation: every sample exactly once,
no padding.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def shard(loader: Any, *, rank: int, size: int, training: bool, seed: int) -> Any:
    """The loader of this rank. Alone, or for a loader that shards itself, the loader as it is."""
    if size == 1 or not isinstance(loader, DataLoader):
        if size > 1 and not hasattr(loader, "state_dict"):
            warnings.warn(
                f"a {type(loader).__name__} cannot be split over {size} ranks: every rank gets all of its batches. "
                "Use a torch DataLoader over a map-style data set.",
                stacklevel=2,
            )
        return loader
    if isinstance(loader.dataset, IterableDataset) or isinstance(loader.sampler, RankSampler):
        return loader
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        raise ConfigurationError(
            asked=f"{size} ranks share a loader with a {type(loader.batch_sampler).__name__}",
            found="Leyden can split samplers, not custom batch samplers",
            do="Give the DataLoader a sampler and a batch_size, or shard in the batch sampler and use devices=1.",
        )
    inner: Any = loader.sampler
    if isinstance(inner, RandomSampler) and inner.generator is not None:
        inner = copy.copy(inner)
        inner.generator = None  # the order must be the same on all ranks: it comes from (seed, epoch)
    return _with_sampler(loader, RankSampler(inner, rank=rank, size=size, even=training, seed=seed))


def _with_sampler(loader: DataLoader[Any], sampler: Sampler[int]) -> DataLoader[Any]:
    twin = copy.copy(loader)
    # DataLoader forbids these assignments after __init__; a copy keeps subclasses and all other settings as they are.
    object.__setattr__(twin, "sampler", sampler)
    if loader.batch_sampler is not None:
        batches = BatchSampler(sampler, loader.batch_size or 1, loader.drop_last)
        object.__setattr__(twin, "batch_sampler", batches)
    object.__setattr__(twin, "_iterator", None)
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


class TrainFeed:
    """Batches of training, epoch by epoch, on the device; knows its place for a checkpoint."""

    def __init__(self, loader: Any, *, limit: Limit, move: Callable[[Any], Any] | None) -> None:
        self.loader, self._move = loader, move
        self.batches = count_batches(loader, limit, "train")
        self._limited = limit is not None and self.batches is not None
        if self.batches == 0:
            raise ConfigurationError(
                asked="fit was asked to train",
                found="the training loader has no batch",
                do="Check the data set's length, drop_last with a batch_size above it, and limit_train_batches.",
            )
        self._start: dict[str, Any] = {}

    def epoch(self, epoch: int, resume: Mapping[str, Any] | None, skip: int) -> Iterator[tuple[int, Any]]:
        """(index, batch on the device) of one epoch. With `resume`, goes on after the first `skip` batches.

        A loader with a state of its own is set to it. Any other draws the skipped batches again, from the random
        numbers the epoch began with, and drops them: so sampler, workers and augmentations stand where they stood.
        """
        own = resume is not None and "loader" in resume
        replay = resume["start"] if resume and skip and not own else None
        sampler = getattr(self.loader, "sampler", None)
        if isinstance(sampler, RankSampler):
            sampler.epoch = epoch
            sampler.seed = resume["seed"] if resume and "seed" in resume else sampler.seed
        if resume:
            self._set_generators(replay["generators"] if replay else resume["generators"])
            if own:
                self.loader.load_state_dict(resume["loader"])
        reached = rng.capture()
        if replay:
            rng.restore(replay["rng"])
        self._start = {"rng": rng.capture(), "generators": self._get_generators()}
        batches = iter(self.loader)
        if replay:
            for _ in range(skip):
                next(batches, None)
            rng.restore(reached)
        return self._numbered(batches, skip)

    def state_dict(self) -> dict[str, Any]:
        """Enough to draw the rest of this epoch again, exactly."""
        state: dict[str, Any] = {"start": self._start, "generators": self._get_generators()}
        if isinstance(getattr(self.loader, "sampler", None), RankSampler):
            state["seed"] = self.loader.sampler.seed
        if hasattr(self.loader, "state_dict") and hasattr(self.loader, "load_state_dict"):
            state["loader"] = self.loader.state_dict()
        return state

    def _numbered(self, batches: Iterator[Any], skip: int) -> Iterator[tuple[int, Any]]:
        move = self._move
        # Only a limit cuts a loader short; else it is run to its own end, so that it can put itself in order.
        indices = range(skip, self.batches or 0) if self._limited else itertools.count(skip)
        for index in indices:
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield index, batch if move is None else move(batch)

    def _get_generators(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._find_generators()]

    def _set_generators(self, states: Sequence[Tensor]) -> None:
        for generator, state in zip(self._find_generators(), states, strict=True):
            generator.set_state(state)

    def _find_generators(self) -> list[torch.Generator]:
        sampler = getattr(self.loader, "sampler", None)
        owners = (self.loader, sampler, getattr(sampler, "inner", None))
        found = [getattr(owner, "generator", None) for owner in owners]
        unique = {id(one): one for one in found if isinstance(one, torch.Generator)}
        return list(unique.values())


def as_list(loaders: Any) -> list[Any]:
    """One loader or several, as a list."""
    if loaders is None:
        return []
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


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
