"""How does the next batch get to the device before the step asks? Everything of `leyden.data` that knows CUDA is here.

`Lane` on a CPU hands batches through: the code around it is the same, so it is tested without a GPU. `CudaLane` copies
on a stream of its own out of pinned memory; an event orders the copy before the step, and the host's memory is held
until the copy has ended. A transform on the device (`on_device`) runs on that stream too, while the step before it
computes.
"""

from __future__ import annotations

import contextlib
import mmap
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, final, runtime_checkable

import torch
from torch import Tensor

OnDevice = Callable[[Any], Any]  # batch on the device -> batch


class Put:
    """A batch on its way: what arrives, or what on_device raised."""

    __slots__ = ("batch", "error", "ready")

    def __init__(self) -> None:
        self.batch: Any = None
        self.error: Exception | None = None
        self.ready: torch.cuda.Event | None = None


class Lane:
    """The way of batches to a device; base of the lane that has something to hide. Used by one thread at a time."""

    def __init__(self, device: torch.device, on_device: OnDevice | None = None) -> None:
        self.device = device
        self._on_device = on_device or _same

    def pin(self, buffer: mmap.mmap) -> None:
        """Let copies out of this memory run by themselves, for as long as `buffer` lives. Cheap if done before."""

    def put(self, batch: Any) -> Put:
        """Begin the copy of a batch, a tree of tensors (dict, list, tuple) and anything else. Never blocks."""
        put = Put()
        self._transform(put, _map(lambda tensor: tensor.to(self.device), batch))
        return put

    def take(self, put: Put) -> Any:
        """The batch on the device, for the work that the current stream is given from now on.

        Raises what `on_device` raised for this batch.
        """
        if put.error is not None:
            raise put.error
        return put.batch

    def close(self) -> None:
        """Wait until no copy reads the host's memory any more."""

    def _transform(self, put: Put, batch: Any) -> None:
        try:
            put.batch = self._on_device(batch)
        except Exception as error:  # belongs to this batch, which is delivered after others
            put.error = error


@final
class CudaLane(Lane):
    """The lane of an NVIDIA GPU."""

    def __init__(self, device: torch.device, on_device: OnDevice | None = None) -> None:
        super().__init__(device, on_device)
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._reading: deque[tuple[torch.cuda.Event, Any]] = deque()  # host memory that copies may still read
        self._seen: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._warned = False

    def pin(self, buffer: mmap.mmap) -> None:
        """As `Lane.pin`, by registering the pages; where that fails, batches are copied to pinned memory first."""
        if buffer in self._seen:
            return
        self._seen.add(buffer)
        memory = torch.frombuffer(buffer, dtype=torch.uint8)
        address, size = memory.data_ptr(), memory.numel()
        cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        with torch.cuda.device(self.device):
            result = int(cuda.cudaHostRegister(address, size, _PORTABLE))
        if result == 0:
            weakref.finalize(buffer, _unregister, address).atexit = False
            return
        with contextlib.suppress(RuntimeError):  # CUDA would report it once more, with the next kernel
            torch.ones(1, device=self.device)
        if not self._warned:
            self._warned = True
            warnings.warn(f"{size:,} bytes of host memory cannot be pinned (CUDA error {result})", stacklevel=2)

    def put(self, batch: Any) -> Put:
        """As `Lane.put`. The batch's memory is held until the copy has ended."""
        self._let_go()
        put = Put()
        with torch.cuda.stream(self._stream):
            there = _map(self._copy, batch)
            self._reading.append((self._stream.record_event(), batch))
            self._transform(put, there)
            put.ready = self._stream.record_event()
        return put

    def take(self, put: Put) -> Any:
        """As `Lane.take`; the current stream waits, not the host."""
        self._let_go()
        batch = super().take(put)
        now = torch.cuda.current_stream(self.device)
        if put.ready is not None:
            now.wait_event(put.ready)
        # Memory of the side stream is not given to its next batch while the step may still read it.
        _map(lambda tensor: tensor.record_stream(now) if tensor.is_cuda else None, batch)
        return batch

    def close(self) -> None:
        """As `Lane.close`."""
        self._stream.synchronize()
        self._reading.clear()

    def _copy(self, tensor: Tensor) -> Tensor:
        if tensor.device.type == "cpu" and not tensor.is_pinned():
            tensor = tensor.pin_memory()  # torch holds this one until its copy has ended
        return tensor.to(self.device, non_blocking=True)

    def _let_go(self) -> None:
        while self._reading and self._reading[0][0].query():  # type: ignore[no-untyped-call]
            self._reading.popleft()


def lane_for(device: torch.device | str, on_device: OnDevice | None = None) -> Lane:
    """The lane to a device."""
    device = torch.device(device)
    return CudaLane(device, on_device) if device.type == "cuda" else Lane(device, on_device)


@runtime_checkable
class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@final
class Prefetcher:
    """Batches of any loader, `depth` of them on the device before they are asked for.

    Leyden's own Loader does this by itself (`device=`). `state_dict` is the loader's of the batch delivered last: what
    was fetched ahead does not count.
    """

    def __init__(
        self, batches: Iterable[Any], device: torch.device | str, *, on_device: OnDevice | None = None, depth: int = 1
    ) -> None:
        self._batches, self._depth = batches, depth
        self._lane = lane_for(device, on_device)
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]  # asks only where the loader has a length

    def __iter__(self) -> Iterator[Any]:
        source, under_way = iter(self._batches), deque[tuple[Put, dict[str, Any] | None]]()
        error: Exception | None = None
        try:
            while True:
                while error is None and len(under_way) <= self._depth:
                    try:
                        under_way.append((self._lane.put(next(source)), self._ask()))
                    except Exception as raised:  # StopIteration too: comes after the batches before it
                        error = raised
                if not under_way:
                    break
                put, self._state = under_way.popleft()
                yield self._lane.take(put)
        finally:
            self._lane.close()
        if error is not None and not isinstance(error, StopIteration):
            raise error

    def state_dict(self) -> dict[str, Any]:
        """The loader's state after the batch delivered last; {} if it keeps none."""
        return self._state if self._state is not None else self._ask() or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hand a state to the loader."""
        self._state = None
        if isinstance(self._batches, _Stateful):
            self._batches.load_state_dict(state)

    def _ask(self) -> dict[str, Any] | None:
        return self._batches.state_dict() if isinstance(self._batches, _Stateful) else None


def normalize(
    images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """uint8 (batch, height, width, channels), as decoded, → (batch, channels, height, width): (x / 255 - mean) / std.

    In memory the channels stay last, which is what convolutions on GPUs want.
    """
    scale = torch.tensor(std, dtype=torch.float32, device=images.device).mul_(255)
    shift = torch.tensor(mean, dtype=torch.float32, device=images.device).mul_(255)
    return images.to(torch.float32).sub_(shift).div_(scale).to(dtype).permute(0, 3, 1, 2)


_PORTABLE: Final = 1  # cudaHostRegisterPortable: pinned for every GPU of the process


def _map(act: Callable[[Tensor], Any], tree: Any) -> Any:
    """The same tree with `act` done to its tensors."""
    if isinstance(tree, Tensor):
        return act(tree)
    if isinstance(tree, Mapping):
        return {key: _map(act, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(act, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(_map(act, value) for value in tree)
    return tree


def _unregister(address: int) -> None:
    cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    cuda.cudaHostUnregister(address)


def _same(batch: Any) -> Any:
    return batch
