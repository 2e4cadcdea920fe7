"""How does one stay with a job until it ends, though the server may be restarted meanwhile?

The output is asked for attempt by attempt from the byte reached so far, so nothing is shown twice and nothing is lost.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import cast

from leyden.client.api import Client
from leyden.core.errors import UnreachableError
from leyden.core.states import State
from leyden.core.views import JobView

GIVE_UP_S = 600.0  # the machine may be started anew meanwhile
LONG_BYTES = 1 << 20  # a longer line is not waited for
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.03, 0.5


class Follower:
    """Stays with one job. `connect` finds the server anew; it may come back with another port and token."""

    def __init__(
        self,
        connect: Callable[[], Client],
        job_id: str,
        *,
        notice: Callable[[JobView], None] = lambda _: None,
        lost: Callable[[UnreachableError], None] = lambda _: None,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._connect, self._job_id = connect, job_id
        self._notice, self._lost = notice, lost
        self._give_up_s = give_up_s
        self._answered_at = time.monotonic()
        self.attempt = 1  # whose output comes

    def output(self, write: Callable[[bytes], None], *, rank: int = 0, attempt: int = 1, offset: int = 0) -> JobView:
        """Write the rank's output from that attempt and byte on until the job has ended; the job as it ended."""
        chunks = self.chunks(rank=rank, attempt=attempt, offset=offset)
        while True:
            try:
                write(next(chunks))
            except StopIteration as end:
                return cast("JobView", end.value)

    def chunks(self, *, rank: int = 0, attempt: int = 1, offset: int = 0) -> Generator[bytes, None, JobView]:
        """The same, for the caller to write."""
        client, pause_s = self._connect(), _FIRST_PAUSE_S
        while True:
            self.attempt = attempt
            try:
                job = self._look(client)
                if job.attempt >= attempt:
                    for chunk in client.logs(job.id, rank=rank, attempt=attempt, offset=offset, follow=True):
                        offset += len(chunk)
                        self._answered_at, pause_s = time.monotonic(), _FIRST_PAUSE_S
                        yield chunk
                    job = self._look(client)
                if job.attempt > attempt:
                    attempt, offset = attempt + 1, 0
                    continue
                if State(job.state).final:
                    return job
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.3, _LONGEST_PAUSE_S)
            except UnreachableError as error:
                client = self._again(error)

    def end(self) -> JobView:
        """The job once it has ended."""
        client = self._connect()
        while True:
            try:
                job = client.wait(self._job_id)
                self._answered_at = time.monotonic()
                if State(job.state).final:
                    return job
                time.sleep(_FIRST_PAUSE_S)  # a server that is stopping answers at once
            except UnreachableError as error:
                client = self._again(error)

    def _look(self, client: Client) -> JobView:
        job = client.job(self._job_id).job
        self._answered_at = time.monotonic()
        self._notice(job)
        return job

    def _again(self, error: UnreachableError) -> Client:
        """A client of the server as soon as it answers; raises the error once patience has run out."""
        told = False
        while True:
            try:
                client = self._connect()
                client.health()
                self._answered_at = time.monotonic()
                return client
            except UnreachableError as still:
                silent_s = time.monotonic() - self._answered_at
                if silent_s > self._give_up_s:
                    raise error from still
                if not told and silent_s > 1:
                    told = True
                    self._lost(error)
                time.sleep(0.2)


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The text of them line by line; a line of more than 1 MiB comes in pieces, so that nobody need hold it.

    >>> list(lines([b"a\\nb", b"c\\n", b"d"]))
    ['a', 'bc', 'd']
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")  # a piece may end within a character
    held, cut = bytearray(), False
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            text = decoder.decode(held + line, final=True)
            held.clear()
            if text or not cut:
                yield text
            cut = False
        held += rest
        if len(held) > LONG_BYTES:
            yield decoder.decode(bytes(held))
            held.clear()
            cut = True
    if text := decoder.decode(bytes(held), final=True):
        yield text
