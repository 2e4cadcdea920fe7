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

from leyden.core.errors import LeydenError
from leyden.data.errors import DataError
from leyden.data.meter import Meter
from leyden.data.plan import Sequential, Shuffled
from leyden.data.plan.base import Order
from leyden.data.plan.deal import Deal
from leyden.data.plan.order import WINDOW_SHARDS
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
    """Batches of a data set, in a loop: `for batch in loader` is one epoch, the next loop is the next epoch.

    `data`: the folder or URL of shards (or of WebDataset's, MosaicML's, Parquet's), a `Source`, an order (`Mix`,
    `Packed`, `Bucketed`), or anything with len() and []. `batch_size`: of one rank. `transform(sample)` or
    `transform(sample, rng)` returns a tree (dict, tuple, list) of arrays, tensors, numbers and strings; `rng` is a
    NumPy generator that depends on seed, epoch and position alone. Transforms that draw from `random`, `numpy.random`
    or torch get the same numbers for the same sample, too, but in `kind="thread"`. Samples are stacked, or given as a
    list to `collate`. `shuffle`: within windows of `window` shards (16), anew in each epoch; orders have theirs.

    `workers`, `kind`: how many, and whether processes or threads (`describe()` tells what "auto" chose; the rule is in
    workers/crew.py); workers=0 makes batches in the caller. `prefetch`: batches made ahead. `cache`, `storage_options`:
    where remote shards are kept, and how they are reached. `device`: batches are there when they are asked for, after
    `on_device(batch)`. A batch's tensors lie in memory shared with the workers, which is used again when the last of
    them is gone; whoever keeps many batches gets copies. `output`: "numpy" for arrays in place of tensors.

    `on_error="skip"` leaves out samples that are corrupt or whose transform raises: the batch is smaller, positions are
    counted as if they were there, so ranks stay in step and a resumed run meets each sample once. More than 1 % (and
    more than 5) raise SampleError. Raises SampleError naming sample, shard, offset and the line of the user's code;
    CorruptError and FetchError; DataError when nothing has moved for `timeout_s` or a batch killed its workers thrice.
    """

    def __init__(
        self,
        data: Any,
        *,
        batch_size: int,
        transform: Callable[..., Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        window: int | None = None,
        drop_last: bool = False,
        workers: int | Literal["auto"] = "auto",
        kind: Kind = "auto",
        prefetch: int | None = None,
        cache: str | Sequence[str] | None = None,
        storage_options: Mapping[str, str] | None = None,
        device: Any = None,
        on_device: Callable[[Any], Any] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        timeout_s: float = 60.0,
        output: Literal["torch", "numpy"] | None = None,
    ) -> None:
        self.order = _order(data, shuffle=shuffle, seed=seed, window=window, storage_options=storage_options)
        self._seed = seed
        self._options: Any = {"cache": cache, "timeout_s": timeout_s, "storage_options": storage_options}
        self._device, self._on_device = device, on_device
        transform, takes_rng = _with_rng(transform)
        self._setup = Setup(
            sources=self.order.sources,
            join=self.order.join,
            transform=transform,
            takes_rng=takes_rng,
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
            except LeydenError:
                self._stream_at = None  # it is not to come again in the next loop
                raise
            except BaseException:  # Ctrl-C may have come in the middle of a message
                self.close()
                self._loop = loop
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
            engine = Engine(self.order, self._setup, self._staff, **self._options)
            self._engine, self._stream_at = engine, None
            self._finalizer = weakref.finalize(self, engine.close)
            if self._device is not None or self._on_device is not None:
                from leyden.data.device import lane_for

                self._lane = lane_for(self._device or "cpu", self._on_device)
                engine.slots.mapped = self._lane.pin
                engine.slots.keep += 3  # on their way to it, or just there
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


def _order(
    data: Any, *, shuffle: bool, seed: int, window: int | None, storage_options: Mapping[str, str] | None
) -> Order:
    if isinstance(data, Order):
        if shuffle or window is not None:
            raise DataError(
                asked="an order was to be shuffled",
                found=f"a {type(data).__name__} is the order of its samples, shuffled where its parts are",
                do="Leave shuffle and window out.",
            )
        return data
    if isinstance(data, str | os.PathLike | list | tuple):
        from leyden.data.sources import open_source

        data = open_source(data, storage_options=storage_options)
    elif not isinstance(data, Source):
        from leyden.data.sources import MapStyle

        data = MapStyle(data)
    return Shuffled(data, seed=seed, window_shards=window or WINDOW_SHARDS) if shuffle else Sequential(data)


def _with_rng(transform: Callable[..., Any] | None) -> tuple[Callable[..., Any] | None, bool]:
    """The transform, and whether it is called with a generator: it has a parameter `rng`, or two that must be given."""
    if transform is None:
        return None, False
    try:
        parameters = inspect.signature(transform).parameters
    except (TypeError, ValueError):  # written in C
        return transform, False
    if "rng" in parameters:
        return lambda sample, rng: transform(sample, rng=rng), True
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return transform, sum(each.default is each.empty and each.kind in places for each in parameters.values()) == 2


def _find_rank() -> tuple[int, int]:
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
