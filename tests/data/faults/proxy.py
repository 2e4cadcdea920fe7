"""A store that is slow, overloaded, broken or lying: a proxy in front of a real server, with one rule a test.

It also mends what rclone's server gets wrong: that answers 200 where a range was asked for and sent.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

SLICE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asks."""

    method: str
    path: str
    span: tuple[int, int] | None  # of the object, if a range is asked for
    count: int  # how many requests for this path there have been, from 1


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and no object."""

    code: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection, after so many bytes of the body (-1: before any answer)."""

    after: int = -1


@dataclass(frozen=True, slots=True)
class Truncate:
    """Close the connection after this part of the body."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Flip:
    """Change one bit of the object's byte at this offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer; `after`: send so many bytes of the body first."""

    after: int = -1


@dataclass(frozen=True, slots=True)
class Whole:
    """Ignore that a range was asked for."""


Fault = Status | Reset | Truncate | Flip | Silence | Whole
Rule = Callable[[Request], Fault | None]


@final
@dataclass(eq=False)
class Proxy:
    """Runs in a thread of its own until `close`. Fields may be changed at any time."""

    upstream: int  # port on 127.0.0.1
    rule: Rule | None = None
    latency_s: float = 0.0
    bytes_per_s: float | None = None  # a connection
    port: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    sent: int = 0  # bytes of bodies

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself would not keep them
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    @property
    def url(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """No faults, counts from 0."""
        self.rule, self.latency_s, self.bytes_per_s, self.sent = None, 0.0, None, 0
        self.counts.clear()

    def close(self) -> None:
        """End all connections and the thread."""

        async def end() -> None:
            self._server.close()
            while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.sleep(0.01)  # what was accepted just before becomes a task now, and closed ends close

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        while tasks := asyncio.all_tasks(self._loop):  # of connections that came while it ended
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.01))  # what they closed closes now
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

        def over(_: object) -> None:
            self._tasks.discard(task)
            writer.close()  # not in the task: one that is cancelled before it begins runs no line of it

        task.add_done_callback(over)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False: the connection is over."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        length = _number(rb"content-length: *(\d+)", head)
        body = await reader.readexactly(length) if length else b""
        asked = re.search(rb"(?i)\r\nrange: *bytes=(\d+)-(\d+)", head)
        span = (int(asked[1]), int(asked[2]) + 1) if asked else None
        self.counts[path] += 1
        fault = self.rule(Request(method, path, span, self.counts[path])) if self.rule else None
        await asyncio.sleep(self.latency_s)
        if isinstance(fault, Silence) and fault.after < 0:
            await asyncio.sleep(3600)
        if isinstance(fault, Reset) and fault.after < 0:
            return _reset(writer)
        if isinstance(fault, Status):
            writer.write(f"HTTP/1.1 {fault.code} Fault\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        if isinstance(fault, Whole):
            head, span = re.sub(rb"(?i)\r\nrange:[^\r]*", b"", head), None
        return await self._forward(method, head, body, span, fault, writer)

    async def _forward(
        self, method: str, head: bytes, body: bytes, span: tuple[int, int] | None, fault: Fault | None, writer: Any
    ) -> bool:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 20)
        try:
            up_writer.write(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)[:-2] + b"Connection: close\r\n\r\n" + body)
            answer = await up_reader.readuntil(b"\r\n\r\n")
            if span:
                answer = answer.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 206 Partial Content", 1)
            answer = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", answer)
            writer.write(answer)
            if method == "HEAD":
                return True
            length = _number(rb"content-length: *(\d+)", answer)
            if length is None:  # chunked: through to the end of the connection
                writer.write(await up_reader.read())
                return False
            return await self._body(up_reader, length, span[0] if span else 0, fault, writer)
        finally:
            up_writer.close()

    async def _body(self, source: Any, length: int, start: int, fault: Fault | None, writer: Any) -> bool:
        stop = length
        if isinstance(fault, (Reset, Silence)):
            stop = min(length, fault.after)
        if isinstance(fault, Truncate):
            stop = int(length * fault.share)
        at = 0
        while at < stop:
            piece = bytearray(await source.read(min(SLICE, stop - at)))
            if not piece:
                return False
            if isinstance(fault, Flip) and start + at <= fault.offset < start + at + len(piece):
                piece[fault.offset - start - at] ^= 0x10
            writer.write(bytes(piece))
            await writer.drain()
            at += len(piece)
            self.sent += len(piece)
            if self.bytes_per_s:
                await asyncio.sleep(len(piece) / self.bytes_per_s)
        if isinstance(fault, Silence):
            await asyncio.sleep(3600)
        if isinstance(fault, Reset):
            return _reset(writer)
        return not isinstance(fault, Truncate)


def some(share: float, fault: Fault, seed: int = 0) -> Rule:
    """This fault on a share of the requests for objects."""
    chance = random.Random(seed)
    return lambda request: fault if chance.random() < share else None


def first(count: int, part: str, fault: Fault) -> Rule:
    """This fault on the first `count` requests for a path that contains `part`."""
    return lambda request: fault if part in request.path and request.count <= count else None


def _reset(writer: Any) -> bool:
    writer.transport.abort()  # with unread data or not: RST, since nothing lingers
    return False


def _number(pattern: bytes, head: bytes) -> int | None:
    found = re.search(rb"(?i)" + pattern, head)
    return int(found[1]) if found else None
