"""What do decisions see of a trial?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from leyden.core.sweep_views import Value


class Standing(StrEnum):
    """Where a trial stands."""

    GOING = "going"  # it waits for devices or trains
    PAUSED = "paused"  # at a rung, with a checkpoint, holding nothing
    DONE = "done"
    FAILED = "failed"  # crashed, diverged, ran out of memory: no score, and not a bad score
    DROPPED = "dropped"  # cancelled, replaced, or never to be promoted


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial. Scores are such that less is better; NaN never occurs."""

    number: int
    params: Mapping[str, Value]
    standing: Standing = Standing.GOING
    bracket: int = 0
    allowed: int = 0  # index of the rung up to which it may train
    scores: tuple[float, ...] = ()  # at each rung it has reached
    final: tuple[float, ...] | None = None  # of each metric, once it is DONE
    parent: int | None = None
