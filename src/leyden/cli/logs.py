"""leyden logs: what did the job print?"""

from __future__ import annotations

import sys
from collections import deque

import click

from leyden.cli.common import known, reconnected
from leyden.cli.screen import note
from leyden.cli.usage import SETTINGS
from leyden.client.api import Client
from leyden.client.follow import Follower
from leyden.core.ids import short_id
from leyden.core.views import JobView


@click.command(context_settings=SETTINGS)
@click.argument("job", metavar="[JOB]", default="last")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--rank", type=click.IntRange(0), default=0, metavar="N", help="Which process of the job.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Which attempt; the last one by default.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
def command(job: str, follow: bool, rank: int, attempt: int | None, tail: int | None) -> None:
    """Print a job's output, stdout and stderr as they came, byte for byte.

    \b
    leyden logs                   the newest job
    leyden logs q7k2 -f           follow it (Ctrl-C stops following, not the job)
    leyden logs --tail 20 --rank 1
    """
    client = known()
    view = client.job(job).job
    number = attempt or view.attempt
    if number == 0 and not follow:
        note(f"{short_id(view.id)} has printed nothing yet: it is {view.state}. {view.reason}".rstrip())
        return
    offset = _print_tail(client, view, rank, number, tail) if tail is not None and number else 0
    if follow:
        Follower(reconnected, view.id).output(write, rank=rank, attempt=number or 1, offset=offset)
    elif tail is None:
        for chunk in client.logs(view.id, rank=rank, attempt=number):
            write(chunk)


def write(chunk: bytes) -> None:
    """Raw bytes to stdout, at once."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _print_tail(client: Client, view: JobView, rank: int, attempt: int, lines: int) -> int:
    """Print the last lines of what is there; how many bytes there are."""
    last: deque[bytes] = deque(maxlen=lines + 1)
    offset, rest = 0, b""
    for chunk in client.logs(view.id, rank=rank, attempt=attempt):
        offset += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        last.extend(line + b"\n" for line in whole)
    last.append(rest)
    kept = list(last) if rest else list(last)[:-1]
    write(b"".join(kept[len(kept) - lines :] if lines < len(kept) else kept))
    return offset
