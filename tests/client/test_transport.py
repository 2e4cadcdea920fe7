"""Does the client tell an answer from an error, an error of ours from a stranger's, and silence from both?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from leyden.client.api import Client
from leyden.client.transport import Endpoint, Transport
from leyden.core.errors import DeniedError, LeydenError, PlacementError, ServerError, UnreachableError

Answer = tuple[int, bytes]
Serve = Callable[[dict[str, Answer]], Endpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A strange server on loopback: fixed answers by path, none for others (the connection is closed)."""
    servers: list[ThreadingHTTPServer] = []

    def start(answers: dict[str, Answer]) -> Endpoint:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path in answers:
                    status, body = answers[path]
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body) + (path == "/short")))
                    self.end_headers()
                    self.wfile.write(body)
                self.close_connection = True

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return Endpoint(url=f"http://127.0.0.1:{server.server_port}/", token="t")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_errors_come_back_as_their_class(serve: Serve) -> None:
    error = b'{"error": "%s", "asked": "the job asks", "found": "none", "do": "Do."}'
    transport = Transport(
        serve({
            "/a": (400, error % b"PlacementError"),
            "/b": (403, error % b"DeniedError"),
            "/c": (400, error % b"ErrorOfANewerServer"),
            "/d": (502, b"<html>Bad gateway</html>"),
            "/e": (200, b"not json"),
            "/f": (422, b'{"detail": "x"}'),
        })
    )  # fmt: skip
    for path, kind in (("/a", PlacementError), ("/b", DeniedError), ("/c", LeydenError)):
        with pytest.raises(kind) as raised:
            transport.json("GET", path)
        assert str(raised.value) == "the job asks; none. Do."
        assert type(raised.value) is kind
    for path in ("/d", "/e", "/f"):
        with pytest.raises(ServerError, match="it answered"):
            transport.json("GET", path)


def test_silence_is_unreachable(serve: Serve) -> None:
    endpoint = serve({"/short": (200, b"12345")})
    for path in ("/closed", "/short"):
        with pytest.raises(UnreachableError, match="does not answer"):
            Transport(endpoint).json("GET", path)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="no answer in time"):
            Transport(Endpoint(url=url, token=""), timeout_s=0.05).json("GET", "/")
    with pytest.raises(UnreachableError, match="refused"):
        Transport(Endpoint(url=url, token="")).json("GET", "/")
    for nonsense in ("localhost:80", "http://", "http://host:port", "http://[::1", "ftp://host"):
        with pytest.raises(UnreachableError, match="no http or https address"):
            Transport(Endpoint(url=nonsense, token=""))


def test_keys_of_a_newer_server_are_left_out_and_null_is_nan(serve: Serve) -> None:
    metric = b'[{"name": "loss", "count": 1, "last_step": 0, "last": null, "least": "-inf", "greatest": 2, "new": 1}]'
    client = Client(serve({"/api/jobs/a%2Fb/metrics": (200, metric)}))
    (found,) = client.metrics("a/b")
    assert str(found.last) == "nan"
    assert (found.least, found.greatest) == (float("-inf"), 2.0)


def test_a_missing_tree_is_no_error(serve: Serve) -> None:
    client = Client(serve({"/api/code/beef": (200, b""), "/api/code/dead": (404, b"")}))
    assert client.has_code("beef")
    assert not client.has_code("dead")
