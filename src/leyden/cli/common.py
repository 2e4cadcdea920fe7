"""What do the commands share: the server they ask, the formats they print, the words for a job's end?"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from leyden.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, clean, note
from leyden.client import embedded
from leyden.client.api import Client
from leyden.core.errors import NotFoundError
from leyden.core.home import Home
from leyden.core.ids import LENGTH, SHORT, short_id
from leyden.core.states import EXIT_CANCELLED, EXIT_INFRA, EXIT_LIMIT, State
from leyden.core.units import format_duration
from leyden.core.views import JobView

STATE_COLOURS = {
    State.RUNNING: (GREEN,),
    State.STARTING: (GREEN,),
    State.QUEUED: (YELLOW,),
    State.FAILED: (RED,),
    State.TIMED_OUT: (RED,),
    State.SUCCEEDED: (),
    State.CANCELLED: (DIM,),
}


def ensured() -> Client:
    """The server, started if none runs. For commands that bring work."""
    return embedded.ensure(Home.from_environ(), on_start=lambda: note("starting the server (once; it stays) …"))


def known() -> Client:
    """The server that knows the jobs; started again if jobs were ever run here, else NotFoundError."""
    home = Home.from_environ()
    if client := embedded.connect(home):
        return client
    if not home.database.exists():
        raise NotFoundError(
            asked=f"a job of {home.root} was asked for",
            found="none was ever run there",
            do="Try `leyden run train.py`.",
        )
    return ensured()


def reconnected() -> Client:
    """The server, if it runs; for those who wait until it is back."""
    return embedded.running(Home.from_environ())


def telling_length(ids: Sequence[str]) -> int:
    """How many characters of their ends tell these ids apart.

    >>> telling_length(["00000abcde", "00001bbcde", "0000000001"])
    5
    """
    return next((n for n in range(SHORT, LENGTH) if len({short_id(one, n) for one in ids}) == len(ids)), LENGTH)


def exit_code(job: JobView) -> int:
    """What `leyden run` and `leyden wait` end with, once the job has ended."""
    match State(job.state):
        case State.SUCCEEDED:
            return 0
        case State.CANCELLED:
            return EXIT_CANCELLED
        case State.TIMED_OUT:
            return EXIT_LIMIT
    if job.exit_code is None:
        return EXIT_INFRA
    return 128 - job.exit_code if job.exit_code < 0 else job.exit_code or 1


def runtime_s(job: JobView, now: float) -> float | None:
    """Seconds from the start to the end, or to now; None where it does not run, or has not begun."""
    state = State(job.state)
    if job.started_at is None or not (state.active or state.final):
        return None
    return max(0.0, (job.ended_at or now) - job.started_at)


def far(job: JobView) -> str:
    """How much of it is done, and how long the rest takes, as far as that is known.

    >>> from dataclasses import replace
    >>> from leyden.core.views import JobView
    >>> job = JobView(id="0000000q7k", name="t", user="ada", state="running", reason="", priority=50, attempt=1,
    ...     node="n", devices=[], created_at=0, started_at=1.0, ended_at=None, exit_code=None, run_dir="",
    ...     progress=0.437)
    >>> far(job), far(replace(job, eta_s=720.0)), far(replace(job, progress=None))
    ('43 %', '43 %, 12m00s left', '')
    """
    if job.progress is None:
        return ""
    left = "" if job.eta_s is None else f", {format_duration(job.eta_s)} left"
    return f"{math.floor(100 * job.progress)} %{left}"


def ending(job: JobView) -> str:
    """How a job ended, in one line.

    >>> from leyden.core.views import JobView
    >>> ending(JobView(id="0000000q7k", name="t", user="ada", state="failed", reason="exit code 3", priority=50,
    ...     attempt=1, node="n", devices=[], created_at=0, started_at=1.0, ended_at=3.5, exit_code=3, run_dir=""))
    '✗ 0q7k failed after 2.5s: exit code 3'
    """
    mark = "✓" if job.state == State.SUCCEEDED else "✗"
    spent = runtime_s(job, now=0)
    after = f" after {format_duration(spent)}" if spent is not None else ""
    why = "" if job.state == State.SUCCEEDED or job.reason in {"", job.state} else f": {job.reason}"
    return clean(f"{mark} {short_id(job.id)} {job.state.replace('_', ' ')}{after}{why}")


def ending_colours(job: JobView) -> tuple[str, ...]:
    """Green, red, or dim for what was cancelled."""
    match State(job.state):
        case State.SUCCEEDED:
            return (GREEN,)
        case State.CANCELLED:
            return (YELLOW,)
    return (BOLD, RED)


def hints(rows: Iterable[tuple[str, str]]) -> None:
    """Commands to try next, each with what it does, as they can be typed here."""
    listed = [(as_typed(command), what) for command, what in rows]
    width = max((len(command) for command, _ in listed), default=0)
    for command, what in listed:
        note(f"  {command:<{width}}   {what}")


def as_typed(command: str) -> str:
    """The command with the path of this `leyden` where the shell would not find it, e.g. without the venv activated."""
    here = Path(sys.argv[0])
    found = shutil.which("leyden")
    if here.name != "leyden" or (found and Path(found).samefile(here)):
        return command
    return command.replace("leyden", sys.argv[0], 1)


def shards_said(count: int) -> str:
    """
    >>> shards_said(1), shards_said(1200)
    ('1 shard', '1,200 shards')
    """
    return f"{count:,} shard{'' if count == 1 else 's'}"


def change(refs: Sequence[str], do: Callable[[str], JobView], output: str) -> None:
    """Do it to each job, all of which are looked up before the first is changed, and say how each is now."""
    client = known()
    ids = [client.job(ref).job.id for ref in refs]
    changed = [do(one) for one in ids]
    if output == "json":
        print_json(changed)
        return
    for job in changed:
        why = f" ({job.reason})" if job.reason and job.reason != job.state else ""
        print(f"{short_id(job.id)} {clean(job.name)}: {job.state}{clean(why)}")


def print_json(value: object) -> None:
    """Any view, or list of them, as JSON; what is no number becomes null, as JSON knows none."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
