"""What does the worker do between the engine's launch and the record of how the attempt ended?

Claim the attempt, unpack the code, start the ranks, watch them, write outcome.json, tell the server. The outcome is on
disk before anybody is told, so a server that is down, or dies right then, finds it there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from leyden.core.states import EXIT_REQUEUE
from leyden.engines import record
from leyden.engines.base import Ending, Launch, Outcome
from leyden.worker.bell import Bell
from leyden.worker.collect import collect
from leyden.worker.environ import rank_environ, working_folder
from leyden.worker.ranks import Ranks, start_ranks
from leyden.worker.report import Reporter
from leyden.worker.unpack import unpack

HEARTBEAT_S = 10.0
_SAVED = "stopped to go on later"


def run_attempt(folder: Path) -> int:
    """Run the attempt described in the folder; returns the worker's own exit code, which nobody relies on."""
    bell = Bell(signal.SIGTERM, signal.SIGINT, record.SAVE, signal.SIGCHLD)  # first of all: a stop may come at any time
    if not record.claim(folder, record.myself()):
        print("another worker runs this attempt, or it is closed", file=sys.stderr)
        return 0
    launch = record.read_launch(folder)
    reporter = Reporter(launch)
    try:
        outcome = _run(launch, bell, reporter)
    except Exception as error:
        _print_trouble()
        message = f"the worker could not run the job: {type(error).__name__}: {error}"
        outcome = Outcome(kind=Ending.INFRA, message=message, ended_at=time.time())
    try:
        record.write_outcome(folder, outcome)
    except OSError:  # the disk is full: the server may still hear of it
        _print_trouble()
    reporter.ended(outcome)
    collect(launch)  # after all: devices are free by now, nobody waits for this
    return 0


def _print_trouble() -> None:
    import traceback  # 4 ms, almost never needed

    traceback.print_exc()


def _run(launch: Launch, bell: Bell, reporter: Reporter) -> Outcome:
    unpack(launch)
    if launch.env != "inherit":
        from leyden.worker.environment import enter  # 15 ms that most jobs need not pay

        entered = enter(launch, bell)
        if isinstance(entered, Outcome):
            return entered
        launch = entered
    started_at = time.time()
    environs = rank_environ(launch, started_at)
    cwd = working_folder(launch)
    if bell.rung(signal.SIGTERM, signal.SIGINT):
        return Outcome(kind=Ending.CANCELLED, message="cancelled before it started", ended_at=time.time())
    try:
        ranks = start_ranks(launch, environs, cwd)
    except OSError as error:
        return _cannot_start(launch, cwd, error)
    try:
        _note(launch, ranks, started_at)
        reporter.started()
        if launch.env == "inherit" and launch.script:
            from leyden.worker.packages import record_environment  # the ranks run already

            record_environment(launch)
        return _watch(launch, ranks, bell, reporter, started_at)
    finally:
        ranks.kill()  # also where the worker itself fails: no rank may outlive it


def _note(launch: Launch, ranks: Ranks, started_at: float) -> None:
    file = record.WorkerFile(worker=record.myself(), ranks=ranks.processes, started_at=started_at)
    record.update_worker(launch.folder, file)


def _watch(launch: Launch, ranks: Ranks, bell: Bell, reporter: Reporter, started_at: float) -> Outcome:
    """Wait for the ranks; stop all of them when one fails, at the time limit, or when asked to."""
    deadline = started_at + launch.time_s if launch.time_s else None
    verdict: Outcome | None = None
    kill_at: float | None = None
    next_beat = started_at + HEARTBEAT_S
    while ranks.running():
        now = time.time()
        if verdict is None:
            verdict = _verdict(launch, ranks, bell, now, deadline)
            if verdict:
                saves = verdict.message == _SAVED
                ranks.signal(signal.Signals[f"SIG{launch.save_signal}"] if saves else signal.SIGTERM)
                kill_at = now + (launch.save_grace_s if saves else launch.stop_grace_s)
        elif kill_at and now >= kill_at:
            ranks.kill()
        elif verdict.message == _SAVED and bell.rung(signal.SIGTERM, signal.SIGINT):  # cancelled after all
            verdict = _verdict(launch, ranks, bell, now, deadline)
            ranks.signal(signal.SIGTERM)
            kill_at = min(kill_at or now, now + launch.stop_grace_s)
        if now >= next_beat:
            reporter.heartbeat()
            next_beat = now + HEARTBEAT_S
        waits = [next_beat, *([kill_at] if kill_at else [deadline] if deadline else [])]
        bell.wait(max(0.0, min(waits) - time.time()))
    ranks.kill()  # children a rank left in its process group hold devices and log files
    ended = verdict or _failed_rank(ranks) or Outcome(kind=Ending.SUCCEEDED, message="", exit_code=0, ended_at=0)
    return replace(ended, started_at=started_at, ended_at=time.time())


def _verdict(launch: Launch, ranks: Ranks, bell: Bell, now: float, deadline: float | None) -> Outcome | None:
    """Why all ranks must stop now, None where they may go on."""
    if failed := _failed_rank(ranks):
        return failed
    if bell.rung(signal.SIGTERM, signal.SIGINT):
        return Outcome(kind=Ending.CANCELLED, message="cancelled", ended_at=now)
    if bell.rung(record.SAVE):
        return Outcome(kind=Ending.CANCELLED, message=_SAVED, ended_at=now)
    if deadline and now >= deadline:
        message = f"stopped at its time limit of {launch.time_s:g} s"
        return Outcome(kind=Ending.TIMED_OUT, message=message, ended_at=now)
    return None


def _failed_rank(ranks: Ranks) -> Outcome | None:
    if ranks.first_failure is None:
        return None
    rank, code = ranks.first_failure
    who = "the program" if ranks.count == 1 else f"rank {rank}"
    if code == EXIT_REQUEUE:
        message = f"{who} asked to be started again (exit code {code})"
        return Outcome(kind=Ending.REQUEUE, message=message, exit_code=code, ended_at=0)
    if code > 0:
        return Outcome(kind=Ending.FAILED, message=f"{who} exited with code {code}", exit_code=code, ended_at=0)
    name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
    hint = _SIGNAL_HINTS.get(name, "")
    return Outcome(kind=Ending.FAILED, message=f"{who} was killed by {name}{hint}", exit_code=128 - code, ended_at=0)


_SIGNAL_HINTS: Mapping[str, str] = {
    "SIGKILL": " (often the kernel's out-of-memory killer)",
    "SIGSEGV": " (a crash in native code)",
    "SIGBUS": " (often shared memory, /dev/shm, is full)",
}


def _cannot_start(launch: Launch, cwd: Path, error: OSError) -> Outcome:
    """The program is not there or may not be run: shells call that 127 and 126."""
    code = 127 if isinstance(error, FileNotFoundError) else 126
    if not cwd.is_dir():
        message = f"the working directory {cwd} does not exist"
    else:
        message = f"the program {launch.argv[0]!r} cannot be started: {os.strerror(error.errno or 0).lower()}"
    return Outcome(kind=Ending.FAILED, message=message, exit_code=code, ended_at=time.time())
