"""How do tensors get to the host without holding up training?

What only the optimizer changes stays as it is from one optimizer step to the next. So it is copied by the writing
thread while the next forward and backward pass run, and training waits only before it would change what is not copied
yet. Copies go into memory that is kept from one checkpoint to the next: fresh pages cost more than the copying itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from leyden.core.errors import CheckpointError
from leyden.train.checkpoints.tensorfile import local
from leyden.train.hooks import Hook

_SMALL_BYTES = 1 << 16  # copied at once: a few microseconds
# Moments before an optimizer step at which user code could change weights; it runs after all is copied.
_EARLIER = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")
_BETWEEN = (*_EARLIER, "on_train_epoch_start", "on_train_epoch_end", "on_train_end")


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """A tensor on its way to the host, and how often it had been changed when it set out."""

    name: str
    live: Tensor
    buffer: Tensor
    version: int


class Staging:
    """The copies that one checkpoint at a time is written from, and the memory for them."""

    def __init__(self) -> None:
        self._free: dict[tuple[Any, ...], list[Tensor]] = {}
        self._lent: dict[tuple[Any, ...], Tensor] = {}
        self._pending: deque[_Copy] = deque()
        self._copying = threading.Lock()
        self._stream: AbstractContextManager[Any] = nullcontext()
        self._undo: list[Any] = []
        self._torn = ""
        self.at_once = False  # weights were seen to change where nothing should change them

    @torch.no_grad()
    def take(self, tensors: MutableMapping[str, Tensor], later: Iterable[Tensor] = ()) -> None:
        """Replace the values by copies on the host; those whose memory is in `later` are filled in the background."""
        calm = set() if self.at_once else {local(one).data_ptr() for one in later}
        for name, value in tensors.items():
            live = local(value.detach())
            place = live.data_ptr() if live.numel() else id(value)
            key = (place, live.shape, live.stride(), live.dtype)
            if key not in self._lent:  # else it is a tied weight: one copy for all its names
                self._lent[key] = self._buffer(live)
                one = _Copy(name=name, live=live, buffer=self._lent[key], version=live._version)
                if place in calm and live.nbytes > _SMALL_BYTES and live.device.type in ("cpu", "cuda"):
                    self._pending.append(one)
                else:
                    one.buffer.copy_(live)
            tensors[name] = self._lent[key]

    def watch(self, optimizers: Iterable[Optimizer], hooks: MutableMapping[str, tuple[Hook, ...]]) -> None:
        """From now to `release`, whoever could change weights waits for the copies that are still to be made."""
        if not self._pending:
            return
        if self._pending[0].live.is_cuda:
            stream = torch.cuda.Stream(self._pending[0].live.device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            self._stream = torch.cuda.stream(stream)
        for optimizer in optimizers:
            self._undo.append(optimizer.register_step_pre_hook(self.settle).remove)
        for moment in _BETWEEN:
            if before := hooks[moment]:
                hooks[moment] = (self.settle, *before)
                self._undo.append(lambda moment=moment, before=before: hooks.update({moment: before}))

    def settle(self, *_: Any) -> None:
        """On the training thread: return when all is copied, and copy with it."""
        while self._copy_next():
            pass

    def fill(self) -> None:
        """On the writing thread: make the copies; raises CheckpointError where weights changed in between."""
        with self._stream:
            while self._copy_next():
                pass
        if self._torn:
            self.at_once = True
            raise CheckpointError(
                asked="a checkpoint was to be copied while training goes on",
                found=f"{self._torn} was changed before the next optimizer step, by forward or by training_step",
                do="Nothing: from now on training waits for the copies, which takes longer.",
            )

    def release(self) -> None:
        """On the training thread: the checkpoint is written, its memory is there for the next."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        self._pending.clear()
        for (_, shape, _, dtype), buffer in self._lent.items():
            self._free.setdefault((shape, dtype), []).append(buffer)
        self._lent.clear()
        self._torn, self._stream = "", nullcontext()

    def forget(self) -> None:
        """Give the memory back."""
        self.release()
        self._free.clear()

    def _buffer(self, live: Tensor) -> Tensor:
        if free := self._free.get((live.shape, live.dtype)):
            return free.pop()
        return torch.empty(live.shape, dtype=live.dtype, pin_memory=live.is_cuda)

    def _copy_next(self) -> bool:
        """Copy one tensor; False when none is left, not even one under way in the other thread."""
        with self._copying, torch.no_grad():
            if not self._pending:
                return False
            one = self._pending.popleft()
            one.buffer.copy_(one.live)
            if one.live._version != one.version:
                self._torn = one.name
            return True
