"""A proxy before the server that loses, repeats, delays and so reorders what passes it, by dice."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, final

FATES: Final = (
    "passed",
    "lost",  # it never arrives
    "unheard",  # it arrives, the answer does not come back
    "twice",
    "late",  # whoever asked waits for it
    "adrift",  # whoever asked believes it lost; it arrives behind what was sent after it
)
LATE_S, ADRIFT_S = 0.3, 2.0  # at most
OLD: Final = 0.3  # how often one of those before comes once more


@final
@dataclass(frozen=True, kw_only=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@final
class Meddler:
    """Passes on to the port that `upstream` tells, until closed.

    `met` counts what happened to requests, and those that the server refused.
    """

    def __init__(self, upstream: Callable[[], int], *, seed: int) -> None:
        self._upstream, self._dice = upstream, random.Random(seed)
        self._lock, self._old, self._adrift = threading.Lock(), list[_Request](), list[threading.Timer]()
        self.met: Counter[str] = Counter()
        meet = self._meet

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = meet(_Request(method="POST", path=self.path, headers=dict(self.headers), body=body))
                self.close_connection = True
                if answer:
                    status, text = answer
                    with suppress(OSError):  # whoever asked has gone
                        self.send_response(status)
                        self.send_header("Content-Length", str(len(text)))
                        self.end_headers()
                        self.wfile.write(text)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def settle(self) -> None:
        """Return when everything that was adrift has arrived."""
        for one in self._adrift:
            one.join()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self.settle()

    def _meet(self, request: _Request) -> tuple[int, bytes] | None:
        """The answer; None where the connection just ends."""
        with self._lock:
            fate, delay_s = self._dice.choice(FATES), self._dice.random()
            again = self._dice.choice(self._old) if self._old and self._dice.random() < OLD else None
            self._old.append(request)
            self.met.update([fate, *(["old"] if again else [])])
        if again:
            self._let_drift(again, delay_s)
        if fate == "adrift":
            self._let_drift(request, delay_s)
        if fate in {"lost", "adrift"}:
            return None
        if fate == "late":
            threading.Event().wait(delay_s * LATE_S)
        answer = self._forward(request)
        if fate == "twice":
            answer = self._forward(request)
        return None if fate == "unheard" else answer

    def _let_drift(self, request: _Request, delay: float) -> None:
        timer = threading.Timer(delay * ADRIFT_S, self._forward, [request])
        timer.daemon = True
        with self._lock:
            self._adrift.append(timer)
        timer.start()

    def _forward(self, request: _Request) -> tuple[int, bytes] | None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._upstream(), timeout=30)) as connection:
            try:
                connection.request(request.method, request.path, request.body, request.headers)
                response = connection.getresponse()
                if response.status == 403:
                    with self._lock:
                        self.met["refused"] += 1
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                return None
