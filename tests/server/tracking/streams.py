"""Server-sent events, read as a browser does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

from tests.server.running import Running


class Stream:
    """One open stream."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.last_id = ""

    def next(self) -> dict[str, Any]:
        """The next message with data."""
        while True:
            line = self._response.readline()
            assert line, "the stream has ended"
            if line.startswith(b"id: "):
                self.last_id = line[4:].strip().decode()
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found


@contextmanager
def follow(server: Running, path: str) -> Iterator[Stream]:
    with server.open("GET", path) as response:
        assert response.status == 200, response.read()
        assert response.readline() == b": hello\n"
        yield Stream(response)
