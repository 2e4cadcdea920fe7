"""leyden logs: what did the job print?"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from leyden.cli.common import known, reconnected
from leyden.cli.screen import note
from leyden.cli.usage import SETTINGS
from leyden.client.api import Client
from leyden.client.follow import Follower
from leyden.core.ids import short_id
from leyden.core.states import State
from leyden.core.units import format_size
from leyden.core.views import JobView


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--rank", type=click.IntRange(0), default=0, metavar="N", help="Which process of the job.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Which attempt; the last one by default.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Before each line the time it was printed (UTC).")
def command(job: str, follow: bool, rank: int, attempt: int | None, tail: int | None, timestamps: bool) -> None:
    """Print a job's output, stdout and stderr as they came, byte for byte.

    \b
    leyden logs                   the newest job
    leyden logs q7k2 -f           follow it (Ctrl-C stops following, not the job)
    leyden logs --tail 20 --rank 1
    leyden logs -t                when each line was printed
    """
    client = known()
    view = client.job(job).job
    number = attempt or view.attempt
    if number == 0 and not follow:
        note(f"{short_id(view.id)} has printed nothing yet: it is {view.state}. {view.reason}".rstrip())
        return
    follower = Follower(reconnected, view.id)
    follower.attempt = number or 1
    begin = 0 if tail is None or not number else _begin(client, view, rank=rank, attempt=number, lines=tail)
    out = _stamped(client, view, rank, follower, begin) if timestamps else write
    if follow:
        follower.output(out, rank=rank, attempt=number or 1, offset=begin)
    else:
        for chunk in client.logs(view.id, rank=rank, attempt=number, offset=begin):
            out(chunk)


def write(chunk: bytes) -> None:
    """Raw bytes to stdout, at once."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _stamped(client: Client, view: JobView, rank: int, follower: Follower, offset: int) -> Callable[[bytes], None]:
    from leyden.cli.stamping import Stamper

    def ask(attempt: int, after: int) -> list[tuple[int, float]]:
        return client.stamps(view.id, rank=rank, attempt=attempt, after=after)

    wait_s = 0.0 if State(view.state).final else 0.5
    return Stamper(write, ask, attempt=lambda: follower.attempt, offset=offset, wait_s=wait_s)


def _begin(client: Client, view: JobView, *, rank: int, attempt: int, lines: int) -> int:
    """Of the last lines; says so where they are too long to be shown from there."""
    tail = client.tail(view.id, rank=rank, attempt=attempt, lines=lines)
    if tail.offset and tail.size_bytes - tail.offset == lines << 20:
        note(f"a line without end: only its last {format_size(lines << 20)} follow, of {format_size(tail.size_bytes)}")
    return tail.offset
