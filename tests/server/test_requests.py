"""What if requests of workers are lost, repeated, delayed, come in another order, or from attempts long over?"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from leyden.core.states import State, may_follow
from tests.conformance.until import until
from tests.server.meddler import FATES, Meddler
from tests.server.running import Running

JOBS: Final = 32
FAKE_GPUS: Final = 6  # so many jobs at a time, however few processors there are
STARTED: Final = ["admitted", "starting", "running"]

# How a job acts → its program, more fields, what it has then gone through, and how its attempts ended.
KINDS: dict[str, tuple[str, dict[str, Any], list[str], list[str]]] = {
    "succeeds": ("exit 0", {}, [*STARTED, "succeeded"], ["succeeded"]),
    "asks again": ("[ $LEYDEN_ATTEMPT = 2 ] || exit 75", {}, [*STARTED, "queued"], ["requeue", "succeeded"]),
    "fails": ("exit 3", {"retry": {"user": 1}}, [*STARTED, "queued"], ["failed", "failed"]),
    "is cancelled": ("exec sleep 600", {}, [*STARTED, "stopping", "cancelled"], ["cancelled"]),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path / "home")
    yield one
    one.end()


@pytest.fixture
def meddler(server: Running) -> Iterator[Meddler]:
    one = Meddler(lambda: int(server.published()["url"].rpartition(":")[2]), seed=5)
    yield one
    one.close()


@pytest.mark.slow
def test_jobs_run_once_and_end_truthfully_whatever_becomes_of_requests(server: Running, meddler: Meddler) -> None:
    server.start("--fake-gpus", str(FAKE_GPUS), "--url", meddler.url)
    ids = {submitted(server, meddler, kind): kind for kind in [*KINDS] * (JOBS // len(KINDS))}
    assert len(ids) == JOBS
    for job_id in (key for key, kind in ids.items() if kind == "is cancelled"):
        server.state_is(job_id, "running")
        for _ in range(2):
            assert server.ask("POST", f"/api/jobs/{job_id}/cancel")[0] == 200
    for job_id in ids:
        server.wait(job_id)
    meddler.settle()
    for job_id, kind in ids.items():
        assert_truthful(server, job_id, kind)
    assert server.get("/api/machine")["held"] == {}
    assert len(server.get("/api/jobs?all=1")) == JOBS
    assert set(meddler.met) == {*FATES, "old", "refused"}, meddler.met  # of attempts that others followed


def submitted(server: Running, meddler: Meddler, kind: str) -> str:
    """The id of a new job. It is handed in through the meddler too, until that lets an answer through."""
    program, more, _, _ = KINDS[kind]
    command = ["sh", "-c", f"echo $LEYDEN_ATTEMPT >> $LEYDEN_RUN_DIR/starts; {program}"]
    body = server.submission("", command=command, cpus=1, name=kind, **more)
    status, job = until(lambda: asked(server, meddler, body))
    assert status in {200, 201}, job
    return str(job["id"])


def asked(server: Running, meddler: Meddler, body: object) -> tuple[int, Any] | None:
    headers = {"Authorization": f"Bearer {server.published()['token']}", "Content-Type": "application/json"}
    url = urlsplit(meddler.url)
    with closing(http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)) as connection:
        try:
            connection.request("POST", "/api/jobs", json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return None


def assert_truthful(server: Running, job_id: str, kind: str) -> None:
    """Each step of its life is on record once and in order, and it was started as often as the record says."""
    _, _, first, outcomes = KINDS[kind]
    found = server.get(f"/api/jobs/{job_id}")
    begun = (server.home / "runs" / job_id / "starts").read_text().split()
    assert begun == [str(number) for number in range(1, len(outcomes) + 1)], (kind, begun)
    assert [one["outcome"] for one in found["attempts"]] == outcomes
    assert [one["number"] for one in found["attempts"]] == [int(number) for number in begun]
    lived = [one["after"] for one in found["events"]]
    last = State(found["job"]["state"])
    assert lived == ["queued", *first, *([*STARTED, last] if len(outcomes) == 2 else [])], (kind, lived)
    assert last == outcomes[-1]
    assert [one["before"] for one in found["events"]] == ["", *lived[:-1]]
    assert all(may_follow(State(before), State(after)) for before, after in pairwise(lived))
