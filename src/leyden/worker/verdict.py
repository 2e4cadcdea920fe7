"""Why must all ranks of an attempt stop now, how are they told, and what is said about it?"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from leyden.core.states import EXIT_PAUSE, EXIT_REQUEUE
from leyden.core.units import format_duration
from leyden.engines.base import Ending, Launch, Outcome
from leyden.worker.bell import Bell
from leyden.worker.deadline import Deadline
from leyden.worker.ranks import Ranks
from leyden.worker.stall import Progress
from leyden.worker.usage import Usage

LOOK_EVERY_S: Final = 1.0  # at progress and use
HEARS_S: Final = 0.3  # within which a place that wants its room has told all processes of the attempt


@final
@dataclass(frozen=True, kw_only=True)
class Stop:
    """What the ranks are sent, how long they then have, and how the attempt ends."""

    kind: Ending
    message: str
    signal: signal.Signals | None = signal.SIGTERM  # None: they end by themselves
    grace_s: float
    exit_code: int | None = None
    saves: bool = False  # it is to go on later; a cancel may still outdo this
    stacks: bool = False  # print them first

    @property
    def outcome(self) -> Outcome:
        """Without its times."""
        return Outcome(kind=self.kind, message=self.message, exit_code=self.exit_code, ended_at=0)


@final
class Judge:
    """Looks at one attempt. Times are those of a clock that nobody sets."""

    def __init__(
        self, launch: Launch, ranks: Ranks, bell: Bell, usage: Usage, *, begun: float, deadline: Deadline
    ) -> None:
        self._launch, self._ranks, self._bell, self._usage = launch, ranks, bell, usage
        self._deadline = deadline
        self._progress = Progress(launch, now=begun) if launch.stall_s else None
        self._next_look = begun + LOOK_EVERY_S

    def stop(self, now: float) -> Stop | None:
        """Why they must stop; None where they may go on."""
        if stop := self.failure():
            return stop
        if stop := self.cancelled():
            return stop
        if self._bell.saves:
            return self._save()
        if now >= self._deadline.at:
            return self._limit(Ending.TIMED_OUT, self._deadline.message)
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            return self._hangs(now) or self._idles()
        return None

    def failure(self) -> Stop | None:
        """What the first rank that failed makes of the attempt; None where none has."""
        if not self._ranks.first_failure:
            return None
        stop = failed(self._launch, *self._ranks.first_failure)
        if stop.kind is Ending.FAILED and self._launch.term_saves:  # it may have heard a moment before the worker does
            until = time.monotonic() + HEARS_S
            while not self._bell.saves and (left_s := until - time.monotonic()) > 0:
                self._bell.wait(left_s)
            if self._bell.saves:
                return self._save()
        return stop

    def _save(self) -> Stop:
        return Stop(
            kind=Ending.REQUEUE,
            message="stopped to go on later",
            signal=signal.Signals[f"SIG{self._launch.save_signal}"],
            grace_s=self._launch.save_grace_s,
            saves=True,
        )

    def cancelled(self) -> Stop | None:
        """Whether somebody wants it to end for good."""
        return self._limit(Ending.CANCELLED, "cancelled") if self._bell.cancels else None

    def _hangs(self, now: float) -> Stop | None:
        limit_s = self._launch.stall_s
        if not self._progress or not limit_s or self._progress.stalled_s(now=now) < limit_s:
            return None
        message = f"no progress for {format_duration(limit_s)}; stacks are in the log of each rank"
        return Stop(kind=Ending.INFRA, message=message, grace_s=self._launch.stop_grace_s, stacks=True)

    def _idles(self) -> Stop | None:
        limit_s = self._launch.idle_s
        if not limit_s or self._usage.idle_s < limit_s:
            return None
        message = f"stopped at its idle limit: no GPU of it did anything for {format_duration(limit_s)}"
        return self._limit(Ending.TIMED_OUT, message)

    def _limit(self, kind: Ending, message: str) -> Stop:
        return Stop(kind=kind, message=message, grace_s=self._launch.stop_grace_s)


def failed(launch: Launch, rank: int, code: int) -> Stop:
    """What the first rank that failed makes of the attempt."""
    who = "the program" if launch.ranks == 1 else f"rank {rank}"
    kind = Ending.FAILED
    if code == EXIT_PAUSE and launch.budget:  # of any other job, 76 is a failure like all others
        message = f"paused at its rung (exit code {code})"
        # All ranks leave within moments of each other, some with a checkpoint still to be written: none is signalled.
        grace_s = max(launch.stop_grace_s, launch.save_grace_s)
        return Stop(kind=Ending.PAUSED, message=message, signal=None, grace_s=grace_s, exit_code=code, saves=True)
    if code == EXIT_REQUEUE:
        kind, message = Ending.REQUEUE, f"{who} asked to be started again (exit code {code})"
    elif code > 0:
        message = f"{who} exited with code {code}"
    else:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        message = f"{who} was killed by {name}{_SIGNAL_HINTS.get(name, '')}"
    exit_code = code if code > 0 else 128 - code
    return Stop(kind=kind, message=message, exit_code=exit_code, grace_s=launch.stop_grace_s)


_SIGNAL_HINTS: Mapping[str, str] = {
    "SIGKILL": " (often the kernel's out-of-memory killer)",
    "SIGSEGV": " (a crash in native code)",
    "SIGBUS": " (often shared memory, /dev/shm, is full)",
}
