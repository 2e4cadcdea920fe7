"""Why does a job wait? One code for programs, one sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PLACING = "waits to be placed"  # until the next pass has looked at it


class ReasonCode(StrEnum):
    """What a waiting job waits for."""

    PLACING = "placing"  # the next pass decides
    DEVICES = "devices"  # others hold what it needs
    BEHIND = "behind"  # jobs before it wait for the same
    PREEMPTING = "preempting"  # a job of lower priority makes way for it
    QUOTA = "quota"  # its user holds as much as they may
    AFTER = "after"  # another job must succeed first
    NOT_YET = "not_yet"  # it failed, and is tried again at a later time
    HELD = "held"  # until it is released
    PAUSED = "paused"  # until it is resumed
    RUNG = "rung"  # paused by its sweep, until it is found good enough to go on
    IMPOSSIBLE = "impossible"  # this machine cannot run it, or a job it comes after has failed


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why it waits."""

    code: ReasonCode
    text: str
