"""Which bytes of a content does a request want, and what does the answer say? (RFC 9110, sections 13 and 14)"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from mimetypes import guess_type
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})$", re.ASCII)


class _Asked(BaseModel):
    """The headers that say which bytes, and whether at all; `respond` reads them."""

    range: Annotated[str | None, Field(description="bytes=0-99; other units and several parts count as none.")] = None
    if_range: Annotated[str | None, Field(description="An ETag: a part only of that very content, else all.")] = None
    if_none_match: Annotated[str | None, Field(description="An ETag: 304 where it is that content.")] = None


Asked = Annotated[_Asked, Header()]


@dataclass(frozen=True, kw_only=True)
class Content:
    """Bytes with their hash. `read(start, stop)` gives them piece by piece, `close` lets go of what was opened."""

    name: str
    sha256: str
    size_bytes: int
    mtime_s: float
    mode: int
    read: Callable[[int, int], Iterator[bytes]]
    close: Callable[[], None] = lambda: None


def respond(request: Request, content: Content) -> Response:
    """The whole, a part, 304 where the client has it, 416 for a part there is not."""
    etag = f'"{content.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(content.mtime_s, usegmt=True),
        "Cache-Control": "private, no-cache",
        "X-Leyden-Mode": f"{content.mode & 0o777:o}",
        # A page that a job wrote must not act as the platform's own in a browser.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(content.name.rpartition('/')[2])}",
    }
    if request.headers.get("if-none-match") in {etag, "*"}:
        content.close()
        return Response(status_code=304, headers=headers)
    span = _span(request, content.size_bytes, etag)
    if span is None:
        content.close()
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{content.size_bytes}"})
    start, stop, part = span
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size_bytes}"
    headers["Content-Length"] = str(stop - start)
    media_type = guess_type(content.name)[0] or "application/octet-stream"
    status = 206 if part else 200
    if request.method == "HEAD":
        content.close()
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(_sent(content, start, stop), status, headers, media_type)


def _span(request: Request, size: int, etag: str) -> tuple[int, int, bool] | None:
    """From where to where, and whether that is a part; None where there are no such bytes."""
    asked = request.headers.get("range")
    whole = (0, size, False)
    if asked is None or request.headers.get("if-range", etag) != etag:
        return whole
    match = _RANGE.match(asked.strip())
    if not match or match.groups() == ("", ""):
        return whole  # several parts, other units: a server may ignore them
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size, True) if int(last) and size else None
    start, stop = int(first), min(size, int(last) + 1) if last else size
    return (start, stop, True) if start < size and start < stop else None


def _sent(content: Content, start: int, stop: int) -> Iterator[bytes]:
    try:
        yield from content.read(start, stop)
    finally:
        content.close()
