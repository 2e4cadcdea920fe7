"""What runs between plan and loop? Memory, workers, tiers and the stream of batches, started and ended as one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, final

from leyden.data import decode
from leyden.data.plan.base import Order
from leyden.data.tiers import make_tiers
from leyden.data.workers.blame import name_row
from leyden.data.workers.crew import Crew, Staff
from leyden.data.workers.messages import Setup, Work
from leyden.data.workers.ring import Memory, Slots
from leyden.data.workers.stream import Stream

_KEPT: Final = 3  # batches the loop may hold before it gets copies: the one before, this one, one for good measure


@final
class Engine:
    """All that is alive while a loader is in use."""

    def __init__(
        self,
        order: Order,
        setup: Setup,
        staff: Staff,
        *,
        cache: str | Sequence[str] | None,
        timeout_s: float,
        storage_options: Mapping[str, str] | None,
    ) -> None:
        self.pid = os.getpid()
        self._memory = Memory()
        self.slots = Slots(self._memory, keep=_KEPT)
        self.crew = Crew(staff, setup, self._memory)
        self._tiers = make_tiers(order.sources, cache=cache, timeout_s=timeout_s, storage_options=storage_options)
        self.stream = Stream(
            tiers=self._tiers,
            crew=self.crew,
            slots=self.slots,
            timeout_s=timeout_s,
            name=lambda task, row: name_row(setup.sources, task, row),
        )

    def begin(self, work: Iterator[Work], shards: Iterator[int]) -> None:
        """These batches from now on: what they need is asked for before anything else is started."""
        self.stream.begin(work, shards)
        decode.warm()
        self.crew.hire()

    def close(self) -> None:
        """End workers and downloads. Batches handed out stay valid."""
        if os.getpid() != self.pid:  # a fork's copy: what it holds is its parent's
            return
        self.crew.close()
        self._tiers.close()
        self._memory.close()
