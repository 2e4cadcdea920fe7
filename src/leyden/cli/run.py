"""leyden run: submit a job, watch it, end as it ends."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import click

from leyden.cli import target
from leyden.cli.common import (
    ending,
    ending_colours,
    exit_code,
    hints,
    known,
    reconnected,
)
from leyden.cli.logs import write
from leyden.cli.screen import clean, compact, note
from leyden.cli.submit import hand_in
from leyden.cli.usage import SCRIPT_SETTINGS
from leyden.client.follow import GIVE_UP_S, Follower
from leyden.core.errors import LeydenError, UnreachableError
from leyden.core.ids import short_id
from leyden.core.reasons import PLACING
from leyden.core.states import EXIT_CANCELLED, State
from leyden.core.views import JobView

EXIT_DETACHED = 130
SECOND_CTRL_C_S = 3.0
PLACING_S = 0.3  # what is placed within that time has not waited


@click.command(context_settings=SCRIPT_SETTINGS)
@target.flags
def command(words: tuple[str, ...], **flags: Any) -> int:
    """Run a script as a job and watch it. It runs in a copy of this folder, so go on editing. Ctrl-C leaves it running.

    \b
    leyden run train.py --lr 0.1           flags after the script are the script's
    leyden run --gpus 2 --time 1h train.py flags before it say what the job needs
    leyden run job.toml                    a job file; flags go over its keys
    leyden run -- bash -c 'make data'      any program

    Exits with the job's own code; 103 if it was cancelled, 104 if its machine failed, 105 at its time limit.
    """
    job = hand_in(words, **flags)
    output = Output()
    try:
        ended = Follower(reconnected, job.id, notice=Notices().show, lost=_tell_lost).output(output.write)
    except KeyboardInterrupt:
        return _detach(job)
    except UnreachableError as error:
        raise _gone(job, error) from None
    if output.last != b"\n" and sys.stdout.isatty():
        note("")  # the job left its last line open
    _summarise(ended)
    return exit_code(ended)


class Output:
    """Passes the job's output on, and remembers how it ended."""

    last = b"\n"

    def write(self, chunk: bytes) -> None:
        """Raw bytes to stdout."""
        write(chunk)
        self.last = chunk[-1:]


class Notices:
    """One dim line when the job starts, or whenever the reason why it waits has changed."""

    def __init__(self) -> None:
        self._said = ""

    def show(self, job: JobView) -> None:
        """Say it unless it was said already."""
        state = State(job.state)
        if state.final or state is State.STOPPING:
            return
        if job.devices and job.attempt:
            attempt = f" (attempt {job.attempt})" if job.attempt > 1 else ""
            line = f"{short_id(job.id)} {job.name} · {compact(job.devices)} on {job.node}{attempt}"
        elif job.reason not in {"", PLACING} and time.time() - job.created_at > PLACING_S:
            line = f"{short_id(job.id)} {job.name} · {job.reason}"
        else:
            return
        if line != self._said:
            self._said = line
            note(clean(line))


def _detach(job: JobView) -> int:
    """The first Ctrl-C leaves the job alone; a second one soon after cancels it."""
    short = short_id(job.id)
    try:
        note(f"\n{short} goes on without this terminal. Ctrl-C again within {SECOND_CTRL_C_S:.0f} s cancels it.", "1")
        hints([(f"leyden logs {short} -f", "come back to it"), (f"leyden cancel {short}", "stop it")])
        time.sleep(SECOND_CTRL_C_S)
    except KeyboardInterrupt:
        client = known()
        client.cancel(job.id)
        note(f"\ncancelling {short} …")
        ended = client.wait(job.id)
        note(ending(ended), *ending_colours(ended))
        return EXIT_CANCELLED if not State(ended.state).final else exit_code(ended)
    return EXIT_DETACHED


def _tell_lost(error: UnreachableError) -> None:
    note(f"{error.found}; trying again for {GIVE_UP_S / 60:.0f} minutes. The job itself goes on.")


def _gone(job: JobView, error: UnreachableError) -> LeydenError:
    short = short_id(job.id)
    return UnreachableError(
        asked=error.asked,
        found=error.found,
        do=f"Job {short} goes on by itself; `leyden server start`, then `leyden logs {short} -f` comes back to it.",
    )


def _summarise(job: JobView) -> None:
    short = short_id(job.id)
    note(ending(job), *ending_colours(job))
    succeeded = job.state == State.SUCCEEDED
    try:
        logged = sum(not one.name.startswith("system/") for one in reconnected().metrics(job.id))
    except LeydenError:  # the job's end is what counts; a summary must not change it
        logged = 0
    rows = []
    if logged:
        rows.append((f"leyden metrics {short} --plot", f"curves of the {logged} metric{'s' * (logged != 1)} it logged"))
    if not succeeded:
        rows.append((f"leyden show {short}", "what ran, where, and what happened when"))
    if (rank := re.search(r"\brank ([1-9]\d*)\b", job.reason)) and not succeeded:  # shown above was rank 0
        rows.append((f"leyden logs {short} --rank {rank[1]}", "what that rank printed"))
    hints([*rows, (f"leyden logs {short}", "its output again")])
