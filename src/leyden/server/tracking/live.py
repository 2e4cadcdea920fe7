"""How do open dashboards hear of new points and changed runs, when twenty of them watch the same?

By server-sent events. All who ask for the same metrics of the same run share one channel: it looks four times a second,
writes what is new once as text, and hands that text to each. A client that reads too slowly loses what waits for it and
is told to draw anew.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from starlette.concurrency import run_in_threadpool

from leyden.server.changes import Changes
from leyden.server.tracking.book import Entry
from leyden.server.tracking.curves import shown, words
from leyden.server.tracking.tracker import Tracker
from leyden.track.blocks import Floats, Ints
from leyden.track.points import RunPoints
from leyden.track.pyramid import Points
from leyden.track.read import thin

POINTS_EVERY_S: Final = 0.25
TABLE_EVERY_S: Final = 1.0
ALIVE_S: Final = 15.0
MOST_WAITING: Final = 16  # messages for one client
MOST_POINTS: Final = 500  # of one curve in one message; of more the extremes
MOST_CHANGED: Final = 1000


@final
@dataclass(eq=False)
class _Client:
    since: float | None  # it has all points up to then; None: what comes from now on is enough
    queue: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def send(self, text: str | None) -> None:
        """Without waiting for it."""
        if self.queue.full():
            while not self.queue.empty():
                self.queue.get_nowait()
            text = text and _event({"reset": True})
        self.queue.put_nowait(text)


class _Channel(ABC):
    """What some clients watch together; looked at while there are any."""

    every_s: float

    def __init__(self) -> None:
        self.clients: set[_Client] = set()
        self.task: asyncio.Task[None] | None = None

    @abstractmethod
    def look(self, since: list[float | None]) -> tuple[str, list[str]]:
        """What is new for all, and for those who have just come. On a thread."""

    async def run(self, changes: Changes) -> None:
        """While there are clients; whatever ends it ends their streams, and they come again."""
        try:
            await self._look_on(changes)
        except Exception:  # a file is damaged, the database away
            traceback.print_exc()
        finally:
            for client in list(self.clients):
                client.send(None)

    async def _look_on(self, changes: Changes) -> None:
        quiet_s = 0.0
        while self.clients and not changes.closing:
            fresh = [one for one in self.clients if one.since is not None]
            text, first = await run_in_threadpool(self.look, [one.since for one in fresh])
            for client in list(self.clients):
                if client in fresh:
                    client.since = None
                    said = first[fresh.index(client)]
                else:
                    said = text
                if said:
                    client.send(said)
            quiet_s = 0.0 if text else quiet_s + self.every_s
            if quiet_s >= ALIVE_S:
                quiet_s = 0.0
                for client in list(self.clients):
                    client.send(": alive\n\n")
            await asyncio.sleep(self.every_s)


@final
class _PointsChannel(_Channel):
    every_s = POINTS_EVERY_S

    def __init__(self, tracker: Tracker, entry: Entry, names: tuple[str, ...]) -> None:
        super().__init__()
        self._tracker, self._entry, self._names = tracker, entry, names
        self._seen: dict[tuple[int, str], tuple[int, int]] = {}  # version and count of each curve
        self._first = True

    def look(self, since: list[float | None]) -> tuple[str, list[str]]:
        with self._tracker.points(self._entry, self._names) as points:
            keys = [key for key in points.metrics() if key[1] in set(self._names)]
            text = self._fresh(points, keys)
            return text, [self._after(points, keys, one or 0.0) for one in since]

    def _fresh(self, points: RunPoints, keys: list[tuple[int, str]]) -> str:
        parts: list[tuple[int, str, Points]] = []
        again = False
        for key in keys:
            curve = points.curve(*key)
            if curve is None:
                continue
            version, before = self._seen.get(key, (points.version(*key), 0 if not self._first else curve.count))
            again = again or version != points.version(*key) or before > curve.count
            if curve.count > before and not again:
                parts.append((*key, curve.points(before, curve.count)))
            self._seen[key] = (points.version(*key), curve.count)
        self._first = False
        return _event({"reset": True}) if again else _message(parts)

    def _after(self, points: RunPoints, keys: list[tuple[int, str]], moment: float) -> str:
        """What a client that has all up to a moment lacks."""
        parts: list[tuple[int, str, Points]] = []
        for key in keys:
            curve = points.curve(*key)
            if curve is None or not curve.ordered("time"):
                continue
            start = curve.position("time", moment, after=True)
            if start < curve.count:
                parts.append((*key, curve.points(start, curve.count)))
        return _message(parts)


@final
class _TableChannel(_Channel):
    every_s = TABLE_EVERY_S

    def __init__(self, tracker: Tracker) -> None:
        super().__init__()
        self._book = tracker.book
        self._version = -1

    def look(self, since: list[float | None]) -> tuple[str, list[str]]:
        with self._book.lock:
            self._book.sync()
            before, self._version = self._version, self._book.version
            hello = _event({"changed": [], "version": self._version})
            if before in (-1, self._version):
                return "", [hello for _ in since]
            numbers = self._book.changed_since(before)
            ids = None if numbers is None else [self._book.entries[number].id for number in numbers]
        all_ = ids is None or len(ids) > MOST_CHANGED
        said: dict[str, Any] = {"changed": [] if all_ else ids, "version": self._version}
        return _event({**said, "all": True} if all_ else said), [hello for _ in since]


@final
class Live:
    """All channels. For the event loop alone."""

    def __init__(self, tracker: Tracker, changes: Changes) -> None:
        self._tracker, self._changes = tracker, changes
        self._channels: dict[Hashable, _Channel] = {}

    def points(self, entry: Entry, names: tuple[str, ...], since: float | None) -> AsyncIterator[str]:
        """New points of these metrics of a run."""
        key = (entry.id, tuple(sorted(set(names))))
        channel = self._channels.get(key) or _PointsChannel(self._tracker, entry, key[1])
        return self._stream(key, channel, _Client(since))

    def table(self) -> AsyncIterator[str]:
        """Which runs have changed."""
        channel = self._channels.get("table") or _TableChannel(self._tracker)
        return self._stream("table", channel, _Client(0.0))

    async def _stream(self, key: Hashable, channel: _Channel, client: _Client) -> AsyncIterator[str]:
        channel = self._channels.setdefault(key, channel)  # another client may have come before this one is heard
        channel.clients.add(client)
        if channel.task is None or channel.task.done():
            channel.task = asyncio.create_task(channel.run(self._changes))
        try:
            yield ": hello\n\n"
            while (text := await client.queue.get()) is not None:
                yield text
        finally:
            channel.clients.discard(client)
            if not channel.clients:
                channel.task.cancel()
                if self._channels.get(key) is channel:
                    del self._channels[key]


def _message(parts: list[tuple[int, str, Points]]) -> str:
    """Of each metric the points of the lowest rank that has new ones; the other ranks beside them."""
    points: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    newest = 0.0
    for rank, name, some in parts:
        keep: Ints = thin(some.values, MOST_POINTS)
        times: Floats = some.times[keep]
        newest = max(newest, float(np.nanmax(times)))
        one = {"steps": some.steps[keep].tolist(), "times": words(times), "values": words(some.values[keep])}
        if name in points:
            others.append({"name": name, "rank": shown(rank), **one})
        else:
            points[name] = {**one, "rank": shown(rank)}
    if not points:
        return ""
    return f"id: {newest!r}\n" + _event({"points": points, "ranks": others} if others else {"points": points})


def _event(said: dict[str, Any]) -> str:
    return f"data: {json.dumps(said, separators=(',', ':'))}\n\n"
