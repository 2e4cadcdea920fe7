"""What does the worker do while the ranks run? Imported when they have been started: nobody waits for it any more."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from leyden.engines.base import Ending, Launch, Outcome
from leyden.worker.bell import Bell
from leyden.worker.deadline import Deadline
from leyden.worker.ranks import Ranks
from leyden.worker.report import Reporter
from leyden.worker.stall import dump_stacks
from leyden.worker.stamps import EVERY_S, SELDOM_S, Stamps
from leyden.worker.usage import Usage
from leyden.worker.verdict import Judge, Stop

HEARTBEAT_S: Final = 10.0


def watch(
    launch: Launch, ranks: Ranks, bell: Bell, reporter: Reporter, started_at: float, deadline: Deadline
) -> Outcome:
    """Wait for the ranks; stop all of them when one fails, at a limit, or when asked to."""
    begun = time.monotonic()  # the other clock may be set while they run
    logs = [Path(launch.run_dir) / f"logs/a{launch.number}-r{rank}.log" for rank in range(ranks.count)]
    stamps, usage = Stamps(logs), Usage(launch, ranks.processes, started_at=started_at)
    usage.start()
    judge = Judge(launch, ranks, bell, usage, begun=begun, deadline=deadline)
    stop: Stop | None = None
    kill_at, next_beat, pause_s = math.inf, begun + HEARTBEAT_S, EVERY_S
    while ranks.running():
        now = time.monotonic()
        pause_s = EVERY_S if stamps.note() else min(SELDOM_S, 1.2 * pause_s)
        if stop is None:
            if stop := judge.stop(now):
                if stop.stacks:
                    dump_stacks(launch, ranks.processes, stop.message)
                if stop.signal:
                    ranks.signal(stop.signal)
                kill_at = now + stop.grace_s
        elif now >= kill_at:
            ranks.kill()
        elif stop.saves and (cancel := judge.cancelled()):
            stop, kill_at = cancel, min(kill_at, now + cancel.grace_s)
            ranks.signal(signal.SIGTERM)
        if now >= next_beat:
            reporter.heartbeat()
            next_beat = now + HEARTBEAT_S
        due = deadline.at if stop is None else kill_at
        bell.wait(min(pause_s, max(0.0, due - time.monotonic())))
    ranks.kill()  # children a rank left in its process group hold devices and log files
    usage.close()
    stamps.close()
    if (stop is None or stop.saves) and (left := judge.failure()):
        stop = left if stop is None or left.kind is Ending.PAUSED else stop  # it came to its rung while it was stopped
    ended = stop.outcome if stop else Outcome(kind=Ending.SUCCEEDED, message="", exit_code=0, ended_at=0)
    return replace(ended, started_at=started_at, ended_at=time.time())
