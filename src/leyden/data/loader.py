"""How do batches come to a loop? In a planned order, made ahead of time; a run can go on where another stopped."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, Literal, final

import numpy as np

from leyden.data.errors import DataError
from leyden.data.meter import Meter
from leyden.data.plan import Sequential, Shuffled
from leyden.data.plan.base import Order
from leyden.data.plan.deal import Deal
from leyden.data.plan.place import Place
from leyden.data.sources.base import Source
from leyden.data.workers.agenda import agenda
from leyden.data.workers.crew import Kind, Staff
from leyden.data.workers.engine import Engine
from leyden.data.workers.messages import Setup, Work
from leyden.data.workers.skips import Skips
from leyden.data.workers.stack import Leaf, rebuild
from leyden.data.workers.stream import Made


@final
class Loader:
    """Batches of a data set, in a loop: `for batch in loader` is one epoch, the next loop is the next epoch."""

    def __init__(
        self,
        data: Any,
        *,
        batch_size: int,
        transform: Callable[..., Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        window: int = 16,
        drop_last: bool = False,
        workers: int | Literal["auto"] = "auto",
        kind: Kind = "auto",
        prefetch: int | None = None,
        cache: Sequence[str] | None = None,
        device: Any = None,
        on_device: Callable[[Any], Any] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        timeout_s: float = 60.0,
        output: Literal["torch", "numpy"] | None = None,
    ) -> None:
        self.order = _order(data, shuffle=shuffle, seed=seed, window=window)
        self._seed, self._cache, self._timeout_s = seed, cache, timeout_s
        self._device, self._on_device = device, on_device
        self._setup = Setup(
            sources=self.order.sources,
            join=self.order.join,
            transform=transform,
            takes_rng=_takes_rng(transform),
            collate=collate,
            seed=seed,
            skips=on_error == "skip",
        )
        count = None if workers == "auto" else workers
        self._staff = Staff(kind="none" if count == 0 else kind, count=count, prefetch=prefetch)
        rank, size = _find_rank()
        self._deal = Deal(batch_size=batch_size, rank=rank, size=size, drop_last=drop_last)
        self._output = output or ("torch" if importlib.util.find_spec("torch") else "numpy")
        self._epoch = self._position = 0  # of the next batch
        self._stream_at: tuple[Deal, int, int] | None = None  # what the stream gives next
        self._loop: object | None = None  # the loop that is running
        self._has_begun = False  # whether that has taken a batch
        self._lane: Any = None
        self._put: tuple[Made, Any] | None = None  # the next batch, on its way to the device
        self._skips, self.meter = Skips(), Meter()
        self._engine: Engine | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch it stands in; all of the next one, if the last loop was broken off after a batch."""
        if self._loop is not None and self._has_begun and not self._is_endless:
            self._epoch, self._position = self._epoch + 1, 0
        engine = self._start()
        here = self._deal, self._epoch, self._position
        if self._stream_at != here:
            engine.begin(agenda(self.order, *here), self.order.ahead(self._epoch, self._position))
            self._stream_at = here
            self._put = None
        self._loop, self._has_begun = (loop := object()), False
        self.meter.begin(engine.crew)
        return self._batches(engine, loop)

    def _batches(self, engine: Engine, loop: object) -> Iterator[Any]:
        left = perf_counter()
        while self._loop is loop:
            asked = perf_counter()
            try:
                made, batch = self._next(engine)
            except BaseException:  # the stream is not to be trusted after a Ctrl-C, and its error is not to come again
                self._stream_at = None
                raise
            is_last, count = made.work.is_last, made.answer.items
            self._move(made.work)
            self._skips.add(made.answer.items, made.answer.skipped)
            waited, busy, left = perf_counter() - asked, asked - left, perf_counter()
            self.meter.add(made, waited_s=waited, busy_s=busy)
            engine.crew.step(made.answer, busy)
            del made
            if count:
                yield (batch, batch := None)[0]  # this frame must not hold the batch while the loop works
            if is_last:
                return
        raise DataError(
            asked="the next batch of a loop was asked for",
            found="another loop over the same loader has begun, or it was closed",
            do="Use one loader per loop.",
        )

    def _next(self, engine: Engine) -> tuple[Made, Any]:
        """The next batch; on the way to a device the one after it, too, if it is made already."""
        if self._lane is None:
            made = engine.stream.next()
            return made, self._build(made)
        made, put = self._put or self._send(engine.stream.next())
        batch = self._lane.take(put)
        self._put = self._send(engine.stream.next()) if engine.stream.has_next() else None
        return made, batch

    def _send(self, made: Made) -> tuple[Made, Any]:
        return made, self._lane.put(self._build(made))

    def _move(self, work: Work) -> None:
        self._has_begun = True
        self._epoch, self._position = (work.epoch + 1, 0) if work.is_last else (work.epoch, work.after)
        self._stream_at = self._deal, self._epoch, self._position
        if work.is_last:
            self._loop = None

    def _build(self, made: Made) -> Any:
        if self._output == "numpy":
            return rebuild(made.answer.tree, lambda leaf: _array(made.data, leaf, leaf.dtype))
        import torch

        def tensor(leaf: Leaf) -> torch.Tensor:
            if leaf.dtype == "bfloat16":
                return torch.from_numpy(_array(made.data, leaf, "<i2")).view(torch.bfloat16)
            return torch.from_numpy(_array(made.data, leaf, leaf.dtype))

        return rebuild(made.answer.tree, tensor)

    def _start(self) -> Engine:
        if self._engine is not None and self._engine.pid != os.getpid():
            raise DataError(
                asked="batches were asked for in a forked process",
                found=f"the loader was started in process {self._engine.pid}, and its workers answer only there",
                do="Create the loader in the process that uses it.",
            )
        if self._engine is None:
            engine = Engine(self.order, self._setup, self._staff, cache=self._cache, timeout_s=self._timeout_s)
            self._engine, self._stream_at = engine, None
            self._finalizer = weakref.finalize(self, engine.close)
            if self._device is not None or self._on_device is not None:
                from leyden.data.device import lane_for

                self._lane = lane_for(self._device or "cpu", self._on_device)
                engine.slots.mapped = self._lane.pin
        return self._engine

    def __len__(self) -> int:
        """Batches of an epoch for this rank."""
        found = self._deal.batches(self.order.length(self._epoch), 0)
        if found is None:
            raise TypeError("this data has no end, so its loader has no length")
        return found

    @property
    def batches_left(self) -> int | None:
        """Batches this rank still gets in the epoch it stands in; None if that has no end."""
        return self._deal.batches(self.order.length(self._epoch), self._position)

    def state_dict(self) -> dict[str, int]:
        """Where the loop stands: a few integers, the same on all ranks. Batches made ahead do not count."""
        return Place.of(self.order, seed=self._seed, epoch=self._epoch, position=self._position).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next loop goes on there, also with another number of ranks or workers, or another batch size."""
        place = Place.from_dict(state, self.order, seed=self._seed)
        self._epoch, self._position, self._loop = place.epoch, place.position, None

    def set_epoch(self, epoch: int) -> None:
        """The next loop is this epoch: from its begin, unless a loaded state stands within it.

        Data without an end has one epoch: the next loop goes on where this one stands.
        """
        if not self._is_endless and (epoch != self._epoch or (self._loop is not None and self._has_begun)):
            self._epoch, self._position = epoch, 0
        self._loop = None

    @property
    def _is_endless(self) -> bool:
        return self.order.length(self._epoch) is None

    def place(self, device: Any) -> None:
        """The device batches go to, unless one was given."""
        if self._device is None:
            self._device = device

    def describe(self) -> str:
        """Which workers make the batches, and why these."""
        return self._engine.crew.describe() if self._engine else "not started"

    def shard(self, *, rank: int, size: int) -> None:
        """Which part of each global batch is this process's."""
        self._deal = Deal(batch_size=self._deal.batch_size, rank=rank, size=size, drop_last=self._deal.drop_last)

    def close(self) -> None:
        """End workers and downloads; the next loop starts them again, where this one stands."""
        if self._lane is not None:
            self._lane.close()
        if self._finalizer is not None:
            self._finalizer()
        self._lane = self._put = None
        self._engine = self._finalizer = self._stream_at = self._loop = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _array(data: Any, leaf: Leaf, dtype: str) -> Any:
    return np.ndarray(leaf.shape, dtype, buffer=data, offset=leaf.offset)


def _order(data: Any, *, shuffle: bool, seed: int, window: int) -> Order:
    if isinstance(data, Order):
        return data
    if isinstance(data, str | os.PathLike | list | tuple):
        from leyden.data.sources import open_source

        data = open_source(data)
    elif not isinstance(data, Source):
        from leyden.data.sources import MapStyle

        data = MapStyle(data)
    return Shuffled(data, seed=seed, window_shards=window) if shuffle else Sequential(data)


def _takes_rng(transform: Callable[..., Any] | None) -> bool:
    """Whether it is called with a generator: it has a parameter `rng`, or two that must be given."""
    if transform is None:
        return False
    try:
        parameters = inspect.signature(transform).parameters
    except (TypeError, ValueError):
        return False
    needed = [
        p
        for p in parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return "rng" in parameters or len(needed) == 2


def _find_rank() -> tuple[int, int]:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
