"""In what order do batches reach training, where does a resumed epoch go on, and when do all ranks stop?

Ranks whose loaders shard themselves may have different numbers of batches; a rank that goes on alone would wait for
ever. Lengths that are known are compared as an epoch begins. Where they are not known, or only claimed (the length of
an IterableDataset), ranks ask each other batch by batch whether everybody has another one, and all stop after the
shortest; the answer for the next batch comes while this one is trained on. A warning says that batches were left out.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from time import perf_counter as clock
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from leyden.core.errors import ConfigurationError
from leyden.train import rng
from leyden.train.feeding.dealing import Deal, rest, unit
from leyden.train.feeding.loaders import Limit, count_batches, explain_empty, find_rank_sampler, is_planned
from leyden.train.ranks.world import World

_END = object()


class TrainFeed:
    """Batches of training, epoch by epoch, on the device; knows its place for a checkpoint."""

    def __init__(
        self,
        loader: Any,
        *,
        limit: Limit,
        move: Callable[[Any], Any] | None,
        world: World | None = None,
        same: bool = False,  # whether every epoch is to be like the first, as `overfit_batches` asks
    ) -> None:
        _check(loader)
        self._same = same
        self.loader, self._limit, self._move, self._world = loader, limit, move, world or World()
        self._is_stateful = hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
        self._is_planned = is_planned(loader)
        self._is_even = self._world.size == 1 or self._is_planned or find_rank_sampler(loader) is not None
        self._warned = False
        self._hint = ""  # the last one given
        self.waited_s = 0.0  # for batches, since training began
        self.batches: int | None = None
        self.asks = False  # whether ranks ask each other before every batch, as nobody knows which is the last
        self._limited = False
        self._count()
        self._start: dict[str, Any] = {}
        self._running: Generator[tuple[int, Any], None, None] | None = None
        self._deal: Deal | None = None  # where another number of ranks began the epoch
        self._is_rest = False  # whether this epoch was begun at a place within it
        self._ahead: dict[str, Any] | None = None  # random numbers before the batch that lies ready was drawn

    def epoch(self, epoch: int, resume: Mapping[str, Any] | None, skip: int) -> Iterator[tuple[int, Any]]:
        """(index, batch on the device) of one epoch. With `resume`, goes on after the first `skip` batches.

        A loader with a state of its own is set to it. Any other draws the skipped batches again, from the random
        numbers the epoch began with, and drops them: so sampler, workers and augmentations stand where they stood.
        """
        own = resume is not None and "loader" in resume
        if resume and own and self._is_planned:  # the state of an epoch that a limit cut short is of no use to the next
            own = not self._same and (resume["loader"]["epoch"] == epoch or self.loader.batches_left is None)
        was_dealt, self._deal = self._deal, Deal(**resume["deal"]) if resume and "deal" in resume else None
        skip -= (first := self._deal.at if self._deal else 0)
        replay = resume["start"] if resume and skip and not own else None
        self._set_epoch(epoch, resume)
        if was_dealt or self._is_rest or not self._is_even:
            self._count()
        loader = self.loader
        if self._deal:
            loader = rest(loader, self._deal, epoch)
            self.batches = first + len(loader) if self._limit is None else min(self.batches or 0, first + len(loader))
        reached = rng.capture()
        if resume and "generators" in resume:
            if (replay or resume)["again"]:
                iter(loader)  # these workers stay from epoch to epoch: only the first epoch draws their seed
            self._set_generators((replay or resume)["generators"])
        self._is_rest = own and self._is_planned
        if resume and own:
            self.loader.load_state_dict(resume["loader"])
        if self._is_rest and self.batches is not None and (left := self.loader.batches_left) is not None:
            rest_of_it = skip + left
            self.batches = min(self.batches, rest_of_it) if self._limited else rest_of_it
        rng.restore(replay["rng"] if replay else reached)
        again = _has_workers(loader)
        self._start = {"rng": rng.capture(), "generators": self._get_generators(), "again": again}
        self._ahead = None
        batches = iter(loader)
        for _ in range(skip if replay else 0):
            next(batches, None)
        if self.asks:
            if replay:
                rng.restore(resume["ahead"] if resume and resume.get("ahead") else reached)
            batches = self._ask(next(batches, _END), batches)
        if replay:
            rng.restore(reached)
        self._running = self._numbered(batches, first + skip)
        return self._running

    def name_wait(self) -> str:
        """What the bar calls the wait for data, with its main cause where the loader knows it."""
        causes = self.loader.meter.read().causes if self._is_planned else {}
        return f"data wait % ({max(causes, key=causes.__getitem__)})" if any(causes.values()) else "data wait %"

    def report(self) -> tuple[dict[str, float], str]:
        """What the loader measured of this epoch: shares of its time spent waiting, by cause; and a hint if starved."""
        if not self._is_planned:
            return {}, ""
        found = self.loader.meter.read()
        shares = {f"data/wait_{cause}": share for cause, share in found.causes.items()}
        hint, self._hint = ("" if found.hint == self._hint else found.hint), found.hint
        return {"data/wait": found.wait_share, **shares}, hint

    def close(self) -> None:
        """Let go of an epoch broken off, whose workers end now: if a garbage collection ends them, it takes seconds."""
        if self._running is not None:
            self._running.close()

    def state_dict(self) -> dict[str, Any]:
        """Enough to draw the rest of this epoch again, exactly."""
        state: dict[str, Any] = {"start": self._start, "generators": self._get_generators()}
        state |= {"unit": unit(self.loader), "again": _has_workers(self.loader)}
        if self._deal is not None:
            state["deal"] = vars(self._deal)
        if self._ahead is not None:
            state["ahead"] = self._ahead
        if (sampler := find_rank_sampler(self.loader)) is not None:
            state["seed"] = sampler.seed
        if self._is_stateful:
            state["loader"] = self.loader.state_dict()
        return state

    def _count(self) -> None:
        """How many batches this epoch has on every rank. Collective where the loader shards itself."""
        mine = count_batches(self.loader, self._limit, "train")
        self.batches, self._limited = mine, self._limit is not None and mine is not None
        if not self._is_even:
            known = _knows_its_length(self.loader)
            everyone = self._world.gather((mine, known))
            counts = [count for count, _ in everyone]
            self.asks = not all(known for _, known in everyone)
            self.batches = None if None in counts else min(counts)
            if not self.asks and (left := sum(counts) - self._world.size * min(counts)):
                self._limited = True
                self._warn(f"{left} batches of an epoch are left out: the ranks have {counts}")
        if self.batches == 0:
            raise _no_batch(self.loader)

    def _numbered(self, batches: Iterator[Any], skip: int) -> Generator[tuple[int, Any], None, None]:
        move = self._move
        # Only a limit cuts a loader short; else it is run to its own end, so that it can put itself in order.
        indices = range(skip, self.batches or 0) if self._limited else itertools.count(skip)
        for index in indices:
            asked = clock()
            try:
                batch = next(batches)
            except StopIteration:
                if index == 0:
                    raise _no_batch(self.loader) from None
                return
            self.waited_s += clock() - asked
            yield index, batch if move is None else move(batch)

    def _ask(self, batch: Any, batches: Iterator[Any]) -> Iterator[Any]:
        """Batches as long as every rank has one; the next is drawn ahead, so that the answer comes during a step."""
        have, answer = _offer(batch)
        while True:
            answer.wait()
            if (ranks := int(have)) < self._world.size:
                if ranks:
                    self._warn(f"{ranks} of {self._world.size} ranks had batches left when the shortest ended")
                self._ahead = None
                return
            if self._is_stateful:  # drawn ahead, its state would be one batch ahead in a checkpoint
                yield batch
                have, answer = _offer(batch := next(batches, _END))
            else:
                self._ahead = rng.capture()
                ready, batch = batch, next(batches, _END)
                have, answer = _offer(batch)
                yield ready

    def _warn(self, text: str) -> None:
        if not self._warned and self._world.rank == 0:
            warnings.warn(f"{text}. Ranks train on equally many batches, those of the shortest.", stacklevel=2)
        self._warned = True

    def _set_epoch(self, epoch: int, resume: Mapping[str, Any] | None) -> None:
        if (ours := find_rank_sampler(self.loader)) is not None:
            ours.epoch = epoch
            ours.seed = resume["seed"] if resume and "seed" in resume else ours.seed
        for owner in self._find_owners():
            if hasattr(owner, "set_epoch"):
                owner.set_epoch(0 if self._same else epoch)

    def _find_owners(self) -> list[Any]:
        """The loader, its samplers, and what they wrap."""
        outer = [getattr(self.loader, name, None) for name in ("sampler", "batch_sampler")]
        inner = [getattr(one, name, None) for one in outer for name in ("inner", "sampler")]
        return list({id(one): one for one in (self.loader, *outer, *inner) if one is not None}.values())

    def _get_generators(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._find_generators()]

    def _set_generators(self, states: Sequence[Tensor]) -> None:
        for generator, state in zip(self._find_generators(), states, strict=True):
            generator.set_state(state)

    def _find_generators(self) -> list[torch.Generator]:
        found = [getattr(owner, "generator", None) for owner in self._find_owners()]
        unique = {id(one): one for one in found if isinstance(one, torch.Generator)}
        return list(unique.values())


def _offer(batch: Any) -> tuple[Tensor, dist.Work]:
    """Begin to ask how many ranks have another batch."""
    have = torch.tensor(float(batch is not _END))
    answer = dist.all_reduce(have, async_op=True)
    assert answer is not None
    return have, answer


def _has_workers(loader: Any) -> bool:
    """Whether workers are there that an earlier epoch has made."""
    return getattr(loader, "_iterator", None) is not None


def _knows_its_length(loader: Any) -> bool:
    """Whether `len` can be relied on: an IterableDataset only claims one."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return False
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True


def _no_batch(loader: Any) -> ConfigurationError:
    return ConfigurationError(
        asked="fit was asked to train",
        found=explain_empty(loader),
        do="Use a smaller batch_size or more data, or check drop_last, limit_train_batches and devices; "
        "an iterator that is spent after one epoch has to become an IterableDataset.",
    )


def _check(loader: Any) -> None:
    if isinstance(loader, list | tuple) and any(isinstance(one, DataLoader) for one in loader):
        raise ConfigurationError(
            asked=f"fit was asked to train on {len(loader)} loaders",
            found="a training step takes one batch",
            do="Combine the data sets (ConcatDataset), or write a loader that yields what a step needs of each.",
        )
