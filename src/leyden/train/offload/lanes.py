"""How do bytes travel between host and device while the device computes? Everything that knows CUDA is in this file.

`Lanes` on a CPU copies at once: the code around it is the same, so it is tested without a GPU. `CudaLanes` copies on
two streams of their own, inward and outward, in pinned memory; events order them with the arithmetic, and the host
waits only in `finish` and where it would run too far ahead.
"""

from __future__ import annotations

import contextlib
import mmap
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

_SLOTS = 3  # staged at a time: one coming, one in use, one going
_AHEAD = 2  # blocks the host may be ahead of the device


class Lanes:
    """Copies between two places of the same memory; base of the lanes that have something to hide."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def host(self, size_bytes: int) -> Tensor:
        """Zeroed host memory, (size_bytes,) uint8, that copies can overlap with arithmetic from."""
        return torch.zeros(size_bytes, dtype=torch.uint8)

    def bring(self, home: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """A copy on the device that begins now, and what makes the arithmetic that follows wait for it."""
        return home.to(self.device, copy=True), _nothing

    def send(self, there: Tensor, home: Tensor) -> None:
        """Copy back what arithmetic issued so far leaves in `there`."""
        home.copy_(there)

    def stage(self, rows: Tensor) -> Tensor:
        """A copy of host rows for the arithmetic that follows, until `unstage`; one at a time."""
        return rows.to(self.device, copy=True)

    def unstage(self, staged: Tensor, rows: Tensor) -> None:
        """Copy the staged rows back to the host."""
        rows.copy_(staged)

    def finish(self) -> None:
        """Until everything sent and unstaged has arrived."""


class CudaLanes(Lanes):
    """Lanes of an NVIDIA GPU; `slot_bytes` bounds what is staged at a time."""

    def __init__(self, device: torch.device, slot_bytes: int) -> None:
        super().__init__(device)
        self._inward: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._outward: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._slots = [torch.empty(slot_bytes, dtype=torch.uint8, device=device) for _ in range(_SLOTS)]
        # To wait for an event never recorded is no wait.
        self._free = [torch.cuda.Event() for _ in range(_SLOTS)]  # type: ignore[no-untyped-call]
        self._turn = 0
        self._marks: deque[torch.cuda.Event] = deque()

    def host(self, size_bytes: int) -> Tensor:
        """As `Lanes.host`, pinned by registering pages of our own: `pin_memory` rounds up to a power of two."""
        pages = _PinnedPages(-1, max(1, -(-size_bytes // mmap.PAGESIZE)) * mmap.PAGESIZE)
        memory = torch.frombuffer(pages, dtype=torch.uint8)
        pages.pin(memory.data_ptr(), memory.numel())
        return memory[:size_bytes]

    def bring(self, home: Tensor) -> tuple[Tensor, Callable[[], None]]:
        """As `Lanes.bring`; waits on the host where the arithmetic is more than two blocks behind."""
        compute = torch.cuda.current_stream(self.device)
        self._marks.append(compute.record_event())
        if len(self._marks) > _AHEAD:
            self._marks.popleft().synchronize()
        with torch.cuda.stream(self._inward):
            there = torch.empty_like(home, device=self.device)
            there.copy_(home, non_blocking=True)
            ready = self._inward.record_event()

        def wait() -> None:
            compute = torch.cuda.current_stream(self.device)
            compute.wait_event(ready)
            there.record_stream(compute)  # its memory is not given to another while arithmetic may still read it

        return there, wait

    def send(self, there: Tensor, home: Tensor) -> None:
        """As `Lanes.send`."""
        self._outward.wait_event(torch.cuda.current_stream(self.device).record_event())
        with torch.cuda.stream(self._outward):
            home.copy_(there, non_blocking=True)
        there.record_stream(self._outward)

    def stage(self, rows: Tensor) -> Tensor:
        """As `Lanes.stage`; the copy inward runs while earlier slots are worked on and copied back."""
        slot = self._slots[self._turn][: rows.numel()].view(rows.shape)
        with torch.cuda.stream(self._inward):
            self._inward.wait_event(self._free[self._turn])
            slot.copy_(rows, non_blocking=True)
            ready = self._inward.record_event()
        torch.cuda.current_stream(self.device).wait_event(ready)
        return slot

    def unstage(self, staged: Tensor, rows: Tensor) -> None:
        """As `Lanes.unstage`."""
        self._outward.wait_event(torch.cuda.current_stream(self.device).record_event())
        with torch.cuda.stream(self._outward):
            rows.copy_(staged, non_blocking=True)
        self._free[self._turn].record(self._outward)
        self._turn = (self._turn + 1) % _SLOTS

    def finish(self) -> None:
        """As `Lanes.finish`."""
        self._outward.synchronize()
        self._marks.clear()


def lanes_for(device: torch.device, slot_bytes: int) -> Lanes:
    """The lanes of a device."""
    return CudaLanes(device, slot_bytes) if device.type == "cuda" else Lanes(device)


def memory_of(device: torch.device) -> float:
    """Bytes of memory the device has; infinite where it is the host's own."""
    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else float("inf")


def free_on_host(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of host memory that can be taken: what the machine has, and what a container (cgroup 2) leaves of it."""
    free = float(psutil.virtual_memory().available)
    try:
        limit, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (group / "memory.stat").read_text().splitlines()
        cache = float(next(line for line in lines if line.startswith("file ")).split()[1])
    except (OSError, ValueError, StopIteration):  # no such files; or "max", which is no limit
        return free
    return min(free, limit - used + cache)


def _nothing() -> None:
    """On one device, what has been copied is there."""


class _PinnedPages(mmap.mmap):
    """Pages of our own that the GPU can copy from and to by itself; given back with the last tensor that shows them."""

    _pinned = 0

    def pin(self, address: int, size: int) -> None:
        cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        if int(cuda.cudaHostRegister(address, size, 0)) == 0:
            self._pinned = address
        else:
            warnings.warn(f"{size:,} bytes of host memory cannot be pinned: copies will be slow", stacklevel=3)

    def __del__(self) -> None:
        if self._pinned:
            with contextlib.suppress(Exception):  # while the interpreter goes down, torch may be gone before
                cuda: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
                cuda.cudaHostUnregister(self._pinned)
