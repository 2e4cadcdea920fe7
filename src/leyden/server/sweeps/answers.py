"""What is a trial told that asks, at a rung, whether it may train further?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Then(StrEnum):
    """What the process does next."""

    GO_ON = "go_on"  # up to the new budget
    PAUSE = "pause"  # exit with 76; its checkpoint is saved
    END = "end"  # it has trained as far as it should


@dataclass(frozen=True, kw_only=True)
class Answer:
    """To POST /api/attempts/{uid}/rung."""

    then: Then
    budget: str = ""  # e.g. "epoch:9"
