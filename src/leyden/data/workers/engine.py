"""What runs between the plan and the loop? Memory, workers, tiers and the stream of batches, started and ended as one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

from leyden.data import decode
from leyden.data.plan.base import Order
from leyden.data.tiers import make_tiers
from leyden.data.workers.blame import name_row
from leyden.data.workers.messages import Setup
from leyden.data.workers.pool import Pool
from leyden.data.workers.process import Parcel, Process
from leyden.data.workers.ring import Memory, Slots
from leyden.data.workers.stream import Made, Stream, Work
from leyden.data.workers.threads import Caller, Thread

Kind = Literal["auto", "process", "thread", "none"]
_KEPT = 4  # batches the loop may hold before it gets copies: the last one, this one, and two on their way to a device


@dataclass(frozen=True, kw_only=True, slots=True)
class Staff:
    """Which workers, and how far they work ahead."""

    kind: Kind
    count: int
    prefetch: int | None
    timeout_s: float


@final
class Engine:
    """All that is alive while a loader is in use."""

    def __init__(self, order: Order, setup: Setup, staff: Staff, cache: object) -> None:
        decode.warm()
        self.pid = os.getpid()
        self.memory = Memory()
        self.slots = Slots(self.memory, keep=_KEPT)
        self._parcel: Parcel | None = None
        self._setup = setup
        self.tiers = make_tiers(order.sources, cache=cache, timeout_s=staff.timeout_s)
        self.pool = Pool(depth=1 if staff.kind == "none" else 2)
        self._hire(staff)
        self.stream = Stream(
            tiers=self.tiers,
            pool=self.pool,
            slots=self.slots,
            ahead=1 if staff.kind == "none" else staff.prefetch or 2 * staff.count + 2,
            timeout_s=staff.timeout_s,
            name=lambda task, row: name_row(setup.sources, task, row),
        )

    def _hire(self, staff: Staff) -> None:
        if staff.kind == "none":
            self.pool.add(lambda number: Caller(number, self._setup, self.memory))
            return
        for _ in range(staff.count):
            if staff.kind == "thread":
                self.pool.add(lambda number: Thread(number, self._setup, self.memory))
            else:
                parcel = self._parcel = self._parcel or Parcel(self._setup)
                self.pool.add(lambda number: Process(number, parcel, self.memory))

    def close(self) -> None:
        """End workers and downloads. Batches handed out stay valid. Twice does no harm."""
        if os.getpid() != self.pid:  # a fork's copy: what it holds is its parent's
            return
        self.pool.close()
        self.tiers.close()
        self.memory.close()
        if self._parcel is not None:
            self._parcel.close()
