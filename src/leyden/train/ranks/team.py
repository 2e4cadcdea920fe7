"""Which ranks write a checkpoint together? They talk beside training, in a process group of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from leyden.train.ranks.world import World


@dataclass(frozen=True, kw_only=True)
class Team:
    """This rank and how many there are, for one thread of each."""

    rank: int = 0
    size: int = 1
    group: Any = None

    def gather(self, item: Any) -> list[Any]:
        """One item of every rank, on every rank. Collective."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self.group)
        return items


ALONE = Team()


def form(world: World) -> Team:
    """A team of all ranks, over gloo whatever training uses: its collectives never wait for those of training."""
    return Team(rank=world.rank, size=world.size, group=dist.new_group(backend="gloo"))
