"""How do ranks bring their epochs' sums together? One collective for all metrics, exact in 64 bits."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
import torch.distributed as dist

from leyden.train.ranks.world import World

Sums = Mapping[str, tuple[float, float]]
"""By metric: (what the rank has gathered, its weight)."""


class Reducer:
    """Gives every rank the sums of all ranks, in their order, so that each reduces them to the same bits.

    All metrics travel in one buffer whose size every rank knows. It begins with a checksum of their names: where ranks
    logged different metrics, or more than the buffer holds, all of them see it and exchange names as well. Where
    several neighbouring ranks work on the same batch, the sums of the first of them count.
    """

    def __init__(self, world: World, ranks_per_batch: int = 1) -> None:
        self._world, self._ranks_per_batch, self._room = world, ranks_per_batch, 32

    def __call__(self, mine: Sums) -> list[Sums]:
        """Every rank's sums. Collective."""
        if self._world.size == 1:
            return [mine]
        names, count, room = list(mine), len(mine), self._room
        buffer = torch.zeros(2 + 2 * room, dtype=torch.float64)
        buffer[0], buffer[1] = zlib.crc32("\n".join(names).encode()), count
        if 0 < count <= room:
            buffer[2 : 2 + 2 * count] = torch.tensor(list(mine.values()), dtype=torch.float64).flatten()
        rows = torch.empty(self._world.size, len(buffer), dtype=torch.float64)
        dist.all_gather(list(rows), buffer)
        most = int(rows[:, 1].max())
        if most > room or not bool((rows[:, 0] == rows[0, 0]).all()):
            self._room = max(room, 2 * most)
            return self._world.gather(dict(mine))[:: self._ranks_per_batch]
        counted = rows[:: self._ranks_per_batch, 2 : 2 + 2 * count]
        return [dict(zip(names, map(tuple, row.view(-1, 2).tolist()), strict=True)) for row in counted]
