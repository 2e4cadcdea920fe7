"""Is every byte of every attempt shown once, whatever the connection does? The server here misbehaves on cue."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from leyden.client.api import Client
from leyden.client.follow import LONG_BYTES, Follower, lines
from leyden.client.transport import Endpoint
from leyden.core.views import JobDetail, JobView

LOGS = {1: b"first attempt\n" * 1000, 2: b"second attempt\n" * 1000}
CUT_BYTES = 4321  # each connection breaks after so many bytes


class Cutting(BaseHTTPRequestHandler):
    """Tells of a job that is requeued once; cuts each log in pieces; counts how often it is asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[int, int]]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.close_connection = True
        if parts.path.endswith("/logs"):
            query = {key: int(values[0]) for key, values in parse_qs(parts.query).items()}
            self._log(query["attempt"], query["offset"])
        elif parts.path == "/api/health":
            self._json({"version": "0", "pid": 1, "started_at": 0.0, "home": ""})
        else:
            self._json(self._job())

    def _job(self) -> dict[str, object]:
        seen = {attempt for attempt, offset in self.asked if offset >= len(LOGS[attempt]) - CUT_BYTES}
        attempt, state = (1, "running") if not seen else (2, "succeeded" if 2 in seen else "running")
        job = JobView(
            id="x", name="x", user="ada", state=state, reason="", priority=50, attempt=attempt, node="n", devices=[],
            created_at=0.0, started_at=0.0, ended_at=None, exit_code=None, run_dir="",
        )  # fmt: skip
        return asdict(JobDetail(job=job, spec={}, code="", attempts=[], events=[]))

    def _log(self, attempt: int, offset: int) -> None:
        self.asked.append((attempt, offset))
        rest = LOGS[attempt][offset:]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n" % len(rest) + rest[:CUT_BYTES] if rest else b"")
        if len(rest) <= CUT_BYTES:
            self.wfile.write(b"\r\n0\r\n\r\n" if rest else b"0\r\n\r\n")

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def client() -> Iterator[Client]:
    Cutting.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cutting)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Client(Endpoint(url=f"http://127.0.0.1:{server.server_port}", token=""))
    server.shutdown()
    server.server_close()


def test_cut_connections_and_a_requeue_lose_and_repeat_nothing(client: Client) -> None:
    got: list[bytes] = []
    seen: list[JobView] = []
    ended = Follower(lambda: client, "x", notice=seen.append).output(got.append)
    assert b"".join(got) == LOGS[1] + LOGS[2]
    assert ended.state == "succeeded"
    assert {job.attempt for job in seen} == {1, 2}
    asked = Cutting.asked
    assert len(asked) >= len(LOGS[1]) // CUT_BYTES
    assert asked == sorted(asked)


def test_following_can_begin_in_the_middle(client: Client) -> None:
    got: list[bytes] = []
    Follower(lambda: client, "x").output(got.append, offset=100)
    assert b"".join(got) == LOGS[1][100:] + LOGS[2]


@pytest.mark.parametrize("size", [1, 3, 1000, 1 << 30])
def test_a_long_line_comes_in_pieces_and_no_character_is_cut(size: int) -> None:
    text = "first\n\n" + "é" * LONG_BYTES + "\nlast"
    data = text.encode()
    if size < 1000:
        data, text = b"a\xc3\xa9\xff\n\xc3\nb", "a\u00e9\ufffd\n\ufffd\nb"
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    got = list(lines(chunks))
    if size < 1000:
        assert got == text.splitlines()
        return
    assert (got[:2], got[-1], "".join(got[2:-1])) == (["first", ""], "last", "é" * LONG_BYTES)
    assert max(map(len, got)) <= LONG_BYTES
