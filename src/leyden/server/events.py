"""How does a program hear of every change of every job? By server-sent events, from any event on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import Request
from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool

from leyden.jobs.tables import events
from leyden.server.changes import wait_for
from leyden.server.services import Services

AT_ONCE: Final = 1000
ALIVE_S: Final = 15.0  # a comment that often tells a client, and every proxy between, that the stream lives


def load_events(connection: Connection, *, after: int, job_id: str | None, limit: int) -> list[dict[str, Any]]:
    """Events with larger numbers, in order."""
    query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
    if job_id is not None:
        query = query.where(events.c.job_id == job_id)
    return [dict(row._mapping) for row in connection.execute(query)]


async def stream(services: Services, request: Request, *, after: int, job_id: str | None) -> AsyncIterator[str]:
    """Each event as `id:` and `data:`; a client that comes again says the last id it saw."""
    while not services.changes.closing and not await request.is_disconnected():
        change = services.changes.next  # before looking
        found = await run_in_threadpool(
            services.store.read,
            lambda connection, after=after: load_events(connection, after=after, job_id=job_id, limit=AT_ONCE),
        )
        for one in found:
            after = one["id"]
            yield f"id: {after}\ndata: {json.dumps(one)}\n\n"
        if not found:
            await wait_for(change, ALIVE_S)
            if not change.is_set():
                yield ": alive\n\n"
