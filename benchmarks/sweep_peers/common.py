"""What is each library asked, and what does it say about its sweep?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.sweep_peers.problems import Journal, Problem

MOST = 500  # trials: more than anyone comes to
ETA = 3


@dataclass(frozen=True, kw_only=True)
class Task:
    """One sweep."""

    problem: Problem  # with its target
    seed: int
    data: Path
    journal: Journal
    workers: int
    cap_s: float
    scratch: Path  # an empty folder

    @property
    def first_rung(self) -> int:
        """In epochs."""
        return self.problem.epochs // ETA**2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went; times are seconds since 1970."""

    start_s: float  # until everything stood ready for the sweep
    began_at: float
    ended_at: float
    held: list[tuple[float, float]]  # from when to when a trial held a slot, as the library says
