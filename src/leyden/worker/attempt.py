"""What does the worker do between the engine's launch and the record of how the attempt ended?

Claim the attempt, unpack the code, start the ranks, watch them, write outcome.json, tell the server. The outcome is on
disk before anybody is told, so a server that is down, or dies right then, finds it there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from leyden.engines import record
from leyden.engines.base import Ending, Launch, Outcome
from leyden.worker.bell import Bell
from leyden.worker.collect import collect, collect_if_it_goes_on
from leyden.worker.deadline import Deadline, deadline_of
from leyden.worker.environ import rank_environ, working_folder
from leyden.worker.ranks import Ranks, start_ranks
from leyden.worker.report import Reporter
from leyden.worker.unpack import unpack


def run_attempt(folder: Path) -> int:
    """Run the attempt described in the folder; returns the worker's own exit code, which nobody relies on."""
    bell = Bell(signal.SIGTERM, signal.SIGINT, record.SAVE, signal.SIGCHLD)  # first of all: a stop may come at any time
    if not record.claim(folder, record.myself()):
        print("another worker runs this attempt, or it is closed", file=sys.stderr)
        return 0
    launch = record.read_launch(folder)
    bell.term_saves = launch.term_saves
    reporter = Reporter(launch)
    try:
        outcome = _run(launch, bell, reporter)
    except Exception as error:
        _print_trouble()
        message = f"the worker could not run the job: {type(error).__name__}: {error}"
        outcome = Outcome(kind=Ending.INFRA, message=message, ended_at=time.time())
    collect_if_it_goes_on(launch, outcome)
    written = _write(folder, outcome)
    reporter.ended(outcome)
    if not written:
        _write(folder, outcome)
    collect(launch)
    return 0


def _write(folder: Path, outcome: Outcome) -> bool:
    try:
        record.write_outcome(folder, outcome)
    except OSError:  # the disk is full: the server may still hear of it, or there is room a little later
        _print_trouble()
        return False
    return True


def _print_trouble() -> None:
    import traceback  # 4 ms, almost never needed

    with contextlib.suppress(OSError):  # worker.log lies on the disk that may be full
        traceback.print_exc()


def _run(launch: Launch, bell: Bell, reporter: Reporter) -> Outcome:
    deadline = deadline_of(launch, time.monotonic())
    unpack(launch)
    entered = _entered(launch, bell, deadline)
    if isinstance(entered, Outcome):
        return entered
    launch = entered
    started_at = time.time()
    environs = rank_environ(launch, deadline.wall)
    cwd = working_folder(launch)
    if bell.cancels:
        return Outcome(kind=Ending.CANCELLED, message="cancelled before it started", ended_at=time.time())
    try:
        ranks = start_ranks(launch, environs, cwd)
    except OSError as error:
        return _cannot_start(launch, cwd, error)
    try:
        _note(launch, ranks, started_at)
        reporter.started(ranks.processes[0].pid, started_at)
        _record_packages(launch)
        from leyden.worker.watch import watch  # 5 ms that the ranks need not wait for

        return watch(launch, ranks, bell, reporter, started_at, deadline)
    finally:
        ranks.kill()  # also where the worker itself fails: no rank may outlive it


def _entered(launch: Launch, bell: Bell, deadline: Deadline) -> Launch | Outcome:
    """The launch in the environment the job asks for, or how the attempt ends without one."""
    if launch.env == "inherit":
        return launch
    from leyden.worker.environment import enter  # 15 ms that most jobs need not pay

    return enter(launch, bell, deadline)


def _record_packages(launch: Launch) -> None:
    if launch.env != "inherit" or not launch.script:
        return
    from leyden.worker.packages import record_environment  # the ranks run already

    try:
        record_environment(launch)
    except OSError:
        _print_trouble()


def _note(launch: Launch, ranks: Ranks, started_at: float) -> None:
    file = record.WorkerFile(worker=record.myself(), ranks=ranks.processes, started_at=started_at)
    try:
        record.update_worker(launch.folder, file)
    except OSError:  # the disk is full: whoever looks for its ranks finds them by their environment
        _print_trouble()


def _cannot_start(launch: Launch, cwd: Path, error: OSError) -> Outcome:
    """The program is not there or may not be run: shells call that 127 and 126."""
    code = 127 if isinstance(error, FileNotFoundError) else 126
    if not cwd.is_dir():
        message = f"the working directory {cwd} does not exist"
    else:
        message = f"the program {launch.argv[0]!r} cannot be started: {os.strerror(error.errno or 0).lower()}"
    return Outcome(kind=Ending.FAILED, message=message, exit_code=code, ended_at=time.time())
