"""A server that answers at rungs what it is told to, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Sweep:
    """`answers`: (status, body) in turn, the last one for ever."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        left = list(answers)
        sweep = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sweep.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                sweep.paths.append(f"{self.path} {self.headers['Authorization']}")
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


PAUSE, END = (200, '{"then": "pause", "budget": ""}'), (200, '{"then": "end", "budget": ""}')


def go_on(budget: str) -> tuple[int, str]:
    """To that budget."""
    return 200, json.dumps({"then": "go_on", "budget": budget})


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[Sweep]:
    """Such a server, for as long."""
    one = Sweep(*answers)
    threading.Thread(target=one.server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()


def trial_environ(folder: Path, budget: str, url: str = "", metric: str = "val_loss") -> dict[str, str]:
    """What the worker tells a trial whose run is at `folder`."""
    return {
        "LEYDEN_RUN_DIR": str(folder),
        "LEYDEN_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "LEYDEN_ATTEMPT": "1",
        "LEYDEN_API_URL": url,
        "LEYDEN_TOKEN": "secret",
        "LEYDEN_FENCE": "7",
        "LEYDEN_ENGINE_REF": "0000000001-a1-u1",
        "LEYDEN_TRIAL_BUDGET": budget,
        "LEYDEN_TRIAL_METRIC": metric,
    }


def rungs(folder: Path) -> list[dict[str, Any]]:
    """What stands on record of them."""
    return [json.loads(line) for line in (folder / "rungs.jsonl").read_text().splitlines()]
