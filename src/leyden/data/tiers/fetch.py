"""How are bytes had from a store that is slow, overloaded or lies? The one policy of time-outs, retries and hedges.

Every request for a range of an object is answered, or fails with a FetchError, within `timeout_s` of its first try.
A try that brings no byte for `hedge_s` gets a second request beside it; the first to be whole wins. 503 halves the
number of requests at once, success adds to it (gate.py); waits between tries double up to 5 s, with jitter.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, final

import obstore

from leyden.data.errors import CorruptError, FetchError
from leyden.data.tiers.gate import Gate
from leyden.data.tiers.store import BrokenError, OverloadedError, RefusedError, UnrangedError, classify, refuse_fork

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 5.0
STREAMS: Final = 8  # tries of a whole object by one request
CHUNK: Final = 512 * 1024  # bytes between two looks at whether anything still comes
PROBE_S: Final = 1.0  # the longest that others wait for the first request for a range
HEDGES: Final = 0.25  # of the requests under way, at most, are hedges; two always may be
URGENT_HEDGE_S: Final = 0.3  # at least; eight times the store's usual time to the first byte if that is more

T = TypeVar("T")


class Sink(Protocol):
    """Takes a body's chunks, in order."""

    async def __call__(self, chunk: Any) -> None: ...


@dataclass(slots=True)
class Body:
    """What one request brought."""

    size_bytes: int  # of the whole object
    version: str
    chunks: list[Any] = field(default_factory=list)
    length: int = 0


@dataclass(slots=True)
class Trying:
    """An object that is being asked for, for `why()`."""

    since_s: float
    count: int = 1
    requests: int = 0  # at once, for other parts of it
    cause: str = "asked, no answer yet"


@final
class CutError(Exception):
    """A try that the end of the time cut short."""

    def __init__(self, spent_s: float) -> None:
        super().__init__(f"no answer for {spent_s:.1f} s")
        self.spent_s = spent_s


@final
class Fetcher:
    """Objects of one root, all on the loop of net.py."""

    def __init__(self, url: str, store: Any, *, timeout_s: float = 60.0, hedge_s: float = 3.0) -> None:
        self.url, self.store = url.rstrip("/"), store
        self.timeout_s, self.hedge_s = timeout_s, min(hedge_s, timeout_s / 4)
        self.gate = Gate()
        self.ranged = True  # until the store answers 200 to a range
        self.trying: dict[str, Trying] = {}
        self.requests = 0
        self._probe: asyncio.Task[Body] | None = None
        self._hedges = 0  # under way
        self._latency_s = 0.05  # moving average of the time to the first byte

    async def read(self, name: str, start: int, stop: int | None, *, urgent: bool = True) -> Body:
        """Bytes start:stop of an object (None: its end). Raises FetchError; UnrangedError where it has no ranges."""
        if start == 0 and stop is None:
            return await self._persist(name, lambda: self._hedged(name, None, urgent), urgent)
        assert stop is not None
        if (
            self._probe is None
        ):  # the first goes alone: a store that sends everything each time is not to be asked a lot
            self._probe = asyncio.ensure_future(
                self._persist(name, lambda: self._hedged(name, (start, stop), True), True)
            )
            return await asyncio.shield(self._probe)
        if not self._probe.done():
            await asyncio.wait({self._probe}, timeout=PROBE_S)
        if not self.ranged:
            raise UnrangedError
        return await self._persist(name, lambda: self._hedged(name, (start, stop), urgent), urgent)

    async def stream(self, name: str, sink: Callable[[Body], Sink]) -> Body:
        """The whole object in one request, into a new sink each try, made when the answer has begun.

        Time-out: nothing for `timeout_s`, or 8 tries.
        """
        progress = _Progress()

        async def watched() -> Body:
            began_s, task = time.monotonic(), asyncio.ensure_future(self._one(name, None, progress, sink))
            try:
                while not (await asyncio.wait({task}, timeout=self.timeout_s / 20))[0]:
                    if time.monotonic() - max(began_s, progress.last_s) > self.timeout_s / 4:
                        raise BrokenError(f"no bytes for {self.timeout_s / 4:g} s")
                return task.result()
            finally:
                task.cancel()

        return await self._persist(name, watched, False, progress)

    async def stat(self, name: str) -> tuple[int, str]:
        """Bytes and version (etag, else date) of an object."""

        async def head() -> tuple[int, str]:
            try:
                async with asyncio.timeout(self.timeout_s / 4):
                    meta = await obstore.head_async(self.store, name)
            except TimeoutError:
                raise BrokenError("no answer") from None
            except (obstore.exceptions.BaseError, OSError) as error:
                classify(error)
            return meta["size"], version(meta)

        return await self._persist(name, head, True)

    async def write(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all."""

        async def put() -> None:
            try:
                await obstore.put_async(self.store, name, data)
            except (obstore.exceptions.BaseError, OSError) as error:
                classify(error)

        await self._persist(name, put, False)

    async def _persist(
        self, name: str, attempt: Callable[[], Awaitable[T]], urgent: bool, progress: _Progress | None = None
    ) -> T:
        """Try until it works, cannot work or the time is up: since the first try, or since bytes last came."""
        refuse_fork()
        trying = self.trying.setdefault(name, Trying(time.monotonic()))
        trying.requests += 1
        began_s, count = 0.0, 0
        try:
            while True:
                async with self.gate.slot(urgent):
                    count += 1
                    began_s = began_s or time.monotonic()
                    deadline_s = (progress.last_s if progress else began_s) + self.timeout_s
                    trying.count = max(trying.count, count)
                    try:
                        return await self._try(name, attempt, None if progress else deadline_s)
                    except RefusedError as error:
                        raise self._error(name, str(error), count, began_s) from error
                    except CutError as error:  # the time was up: what tries before that ran into says more
                        if count == 1 or error.spent_s > self.timeout_s / 2:
                            trying.cause = str(error)
                    except (BrokenError, OverloadedError) as error:
                        trying.cause = str(error)
                wait_s = random.uniform(0.5, 1) * min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (count - 1))
                if time.monotonic() + wait_s >= deadline_s or (progress and count == STREAMS):
                    raise self._error(name, trying.cause, count, began_s)
                await asyncio.sleep(wait_s)
        finally:
            trying.requests -= 1
            if not trying.requests:
                self.trying.pop(name, None)

    async def _try(self, name: str, attempt: Callable[[], Awaitable[T]], deadline_s: float | None) -> T:
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(deadline_s and max(0.0, deadline_s - began_s)):
                result = await attempt()
        except TimeoutError:
            raise CutError(time.monotonic() - began_s) from None
        except OverloadedError:
            self.gate.slow_down(began_s)
            raise
        except UnrangedError:
            self.ranged = False
            raise
        self.gate.well()
        return result

    def why(self, name: str | None = None) -> str:
        """How an object is being tried: "s3://…/shard-000017.tar: HTTP 503, try 4, 12 s"; "" if it is not.

        Without a name: the one that has been tried most.
        """
        if name is None:
            name = max(self.trying, key=lambda name: self.trying[name].count, default="")
        worst = self.trying.get(name)
        if worst is None:
            return ""
        return f"{self.url}/{name}: {worst.cause}, try {worst.count}, {time.monotonic() - worst.since_s:.0f} s"

    def _error(self, name: str, cause: str, count: int, began_s: float) -> FetchError:
        spent_s = time.monotonic() - began_s
        tries = (
            f", {count} tries in {spent_s:.1f} s (time-out {self.timeout_s:g} s)" if count > 1 or spent_s > 1 else ""
        )
        return FetchError(
            asked=f"{self.url}/{name} was asked for",
            found=cause + tries,
            do="See that the object exists and the store answers; then start again, nothing is lost.",
        )

    async def _hedged(self, name: str, span: tuple[int, int] | None, urgent: bool) -> Body:
        """One request; when nothing comes, a second one beside it; when nothing comes for long, another for the first.

        How long that is doubles each time: a store whose first byte takes a minute is not asked for ever anew.
        """
        patience_s = max(URGENT_HEDGE_S if urgent else 1.0, 8 * self._latency_s)
        streams: dict[asyncio.Task[Body], _Progress] = {}

        def start(hedge: bool) -> None:
            progress = _Progress()
            task = asyncio.ensure_future(self._one(name, span, progress, None))
            streams[task] = progress
            if hedge:
                self._hedges += 1
                task.add_done_callback(self._hedged_less)

        try:
            start(False)
            while True:
                newest_s = max(progress.last_s for progress in streams.values())
                left_s = max(0.01, newest_s + patience_s - time.monotonic())
                done, _ = await asyncio.wait(streams, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del streams[task]
                    if task.exception() is None or not streams:
                        return task.result()
                if not done and time.monotonic() - max(each.last_s for each in streams.values()) >= patience_s:
                    if self._hedges >= max(2, HEDGES * self.gate.inside):
                        patience_s *= 1.5
                        continue
                    if len(streams) > 1:
                        (oldest := next(iter(streams))).cancel()
                        del streams[oldest]
                        patience_s *= 2
                    else:
                        patience_s = max(self.hedge_s, patience_s)
                    start(True)
        finally:
            for task in streams:
                task.cancel()

    def _hedged_less(self, _: object) -> None:
        self._hedges -= 1

    async def _one(
        self, name: str, span: tuple[int, int] | None, progress: _Progress, make: Callable[[Body], Sink] | None
    ) -> Body:
        """One request, checked for its length."""
        self.requests += 1
        try:
            result = await obstore.get_async(self.store, name, options={"range": span} if span else None)
            progress.last_s = time.monotonic()
            self._latency_s += 0.1 * (progress.last_s - progress.began_s - self._latency_s)
            body = Body(result.meta["size"], version(result.meta))
            if span and span[1] > body.size_bytes:
                raise self._short(name, body.size_bytes, span[1])
            sink = make(body) if make else None
            if span and span[1] - span[0] <= CHUNK:
                chunk = await result.bytes_async()
                body.chunks.append(chunk)
                body.length = len(chunk)
            else:
                async for piece in result.stream(min_chunk_size=CHUNK):
                    progress.last_s = time.monotonic()
                    body.length += len(piece)
                    await sink(piece) if sink else body.chunks.append(piece)
        except (obstore.exceptions.BaseError, FileNotFoundError, ConnectionError, PermissionError) as error:
            classify(error)
        expected = span[1] - span[0] if span else body.size_bytes
        if body.length != expected:
            raise BrokenError(f"body ended early: {body.length:,} of {expected:,} bytes")
        return body

    def _short(self, name: str, size_bytes: int, wanted: int) -> CorruptError:
        return CorruptError(
            asked=f"{self.url}/{name} was asked for up to byte {wanted:,}",
            found=f"the object has {size_bytes:,} bytes",
            do="Its index belongs to another version of it: write or copy both again.",
        )


@final
class _Progress:
    """When bytes of a request last came."""

    def __init__(self) -> None:
        self.began_s = self.last_s = time.monotonic()


def version(meta: Any) -> str:
    """What changes when an object is written anew."""
    return str(meta["e_tag"] or meta["last_modified"]).strip('"')
