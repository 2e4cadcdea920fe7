"""A real server in a process of its own, and requests to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from leyden.core.ids import new_id
from tests.conformance.until import until


class Running:
    """One home folder with at most one server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **more: str) -> None:
        """Start it, with more in its environment, and wait until it answers."""
        command = [sys.executable, "-m", "leyden.server", "--home", str(self.home), "--stop-grace-s", "0.5", *options]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LEYDEN_")}
        self.process = process = subprocess.Popen(command, env={**environ, **more})
        try:
            until(lambda: self.published().get("pid") == process.pid or process.poll() is not None, within_s=60)
            assert process.poll() is None
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process
        self.process.terminate()
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process
        self.process.kill()
        self.process.wait(timeout=60)

    def published(self) -> dict[str, Any]:
        """What server.json says."""
        try:
            found: dict[str, Any] = json.loads((self.home / "server.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @contextmanager
    def open(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request; the answer is not read yet."""
        found = self.published()
        url = urlsplit(found["url"])
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {found['token'] if token is None else token}"}
        headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)) as connection:
            connection.request(method, path, data, headers)
            with connection.getresponse() as response:
                yield response

    def ask(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        """Status and decoded answer."""
        with self.open(method, path, body, token=token) as response:
            text = response.read()
        return response.status, json.loads(text) if text else None

    def get(self, path: str) -> Any:
        """The answer, which must be good."""
        status, found = self.ask("GET", path)
        assert status == 200, found
        return found

    def submission(self, program: str, **fields: object) -> dict[str, Any]:
        """The body that submits a Python program as ada."""
        job = {"command": [sys.executable, "-c", program], "name": "digits", **fields}
        environ = {**os.environ, "SECRET_OF_ADA": "xyzzy"}
        return {"job": job, "cwd": str(self.home), "environ": environ, "user": "ada", "key": f"key-{new_id()}"}

    def submit(self, program: str, **fields: object) -> str:
        """Its id."""
        status, job = self.ask("POST", "/api/jobs", self.submission(program, **fields))
        assert status == 201, job
        return str(job["id"])

    def job(self, ref: str) -> dict[str, Any]:
        """How the job is."""
        found: dict[str, Any] = self.get(f"/api/jobs/{ref}")["job"]
        return found

    def wait(self, ref: str) -> dict[str, Any]:
        """The job once it has ended."""
        found: dict[str, Any] = self.get(f"/api/jobs/{ref}/wait?timeout_s=100")
        assert found["ended_at"], found
        return found

    def state_is(self, ref: str, state: str) -> dict[str, Any]:
        """The job once it is in that state."""
        return until(lambda: (job := self.job(ref))["state"] == state and job)

    def rank_pid(self, ref: str) -> int:
        """Rank 0's, once it is on record."""
        return int(until(lambda: next((one["pid"] for one in self.get(f"/api/jobs/{ref}")["attempts"]), None)))

    def log(self, ref: str, **query: object) -> str:
        """Rank 0's log as the server tells it."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        with self.open("GET", f"/api/jobs/{ref}/logs?{words}") as response:
            return response.read().decode()

    def log_file(self, job_id: str) -> Path:
        """Rank 0's log."""
        return self.home / "runs" / job_id / "logs/a1-r0.log"

    def end(self) -> None:
        """Leave nothing of it behind."""
        if self.process and self.process.poll() is None:
            self.stop()
        for file in self.home.glob("runs/*/attempts/*/worker.json"):
            found = json.loads(file.read_text())
            for one in [found["worker"], *found["ranks"]]:
                if one and psutil.pid_exists(one["pid"]):
                    os.kill(one["pid"], signal.SIGTERM)
