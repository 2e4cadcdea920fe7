"""Do files that jobs leave reach whoever asks, through crashes, and are those refused that must be?"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.conformance.until import until
from tests.data.faults.proxy import Flip, Proxy, Request, Silence, Status, first
from tests.server.running import Running

LEAVES = """
import os, pathlib
folder = pathlib.Path(os.environ["LEYDEN_RUN_DIR"], "artifacts")
(folder / "plots").mkdir(exist_ok=True)
(folder / "plots/loss.png").write_bytes(b"png")
(folder / "digits.bin").write_bytes(bytes(range(256)) * 400)
(folder / "naïve 数据?.txt").write_text("hello")
(folder / "page.html").write_text("<script>")
(folder / "out").symlink_to("/etc/passwd")
(folder / "empty").touch()
"""
DIGITS = bytes(range(256)) * 400
SHA = hashlib.sha256(DIGITS).hexdigest()
# The file that says "go" is looked for in the run's folder, as tests/conformance/engine.WAITS does.
GOES_ON = """
import os, pathlib, sys, time
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
attempt = os.environ["LEYDEN_ATTEMPT"]
(run / "artifacts/both.txt").write_text(f"by {attempt}")
(run / f"artifacts/only-{attempt}.txt").write_text(attempt)
print("written", flush=True)
while not (run / f"go{attempt}").exists():
    time.sleep(0.005)
sys.exit(75 if attempt == "1" else 0)
"""


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A server, and a job that has left files."""
    server = Running(tmp_path_factory.mktemp("left") / "home")
    server.start()
    job_id = server.submit(LEAVES)
    assert server.wait(job_id)["state"] == "succeeded"
    until(lambda: kept(server, job_id))
    yield server, job_id
    server.end()


def ask(
    server: Running, path: str, *, method: str = "GET", token: str | None = None, **headers: str
) -> tuple[int, Any, bytes]:
    """Status, headers and body."""
    found = server.published()
    url = urlsplit(found["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    sent = {"Authorization": f"Bearer {found['token'] if token is None else token}"}
    connection.request(method, path, headers={**sent, **{key.replace("_", "-"): text for key, text in headers.items()}})
    response = connection.getresponse()
    try:
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def files(server: Running, job_id: str, query: str = "") -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in server.get(f"/api/jobs/{job_id}/artifacts{query}")["artifacts"]}


def kept(server: Running, job_id: str, attempt: int = 1) -> bool:
    return (server.home / f"runs/{job_id}/attempts/a{attempt}/artifacts.kept").exists()


def test_the_list_tells_every_file_and_what_is_refused(left: tuple[Running, str]) -> None:
    server, job_id = left
    found = files(server, job_id)
    assert set(found) == {"digits.bin", "empty", "naïve 数据?.txt", "page.html", "plots/loss.png"}
    assert (found["digits.bin"]["sha256"], found["digits.bin"]["size_bytes"]) == (SHA, len(DIGITS))
    assert {one["attempt"] for one in found.values()} == {1}
    refused = server.get(f"/api/jobs/{job_id}/artifacts")["refused"]
    assert refused == [{"path": "out", "why": "a link out of the folder"}]


def test_a_file_comes_whole_with_its_hash_and_kind(left: tuple[Running, str]) -> None:
    server, job_id = left
    status, headers, body = ask(server, "/api/jobs/last/artifacts/digits.bin")
    assert (status, body) == (200, DIGITS)
    assert (headers["ETag"], headers["Accept-Ranges"]) == (f'"{SHA}"', "bytes")
    status, headers, body = ask(server, f"/api/jobs/{job_id}/artifacts/{quote('naïve 数据?.txt')}")
    assert (status, body, headers["Content-Type"]) == (200, b"hello", "text/plain; charset=utf-8")
    status, headers, body = ask(server, f"/api/jobs/{job_id}/artifacts/plots/loss.png", method="HEAD")
    assert (status, body, headers["Content-Type"], headers["Content-Length"]) == (200, b"", "image/png", "3")
    status, headers, body = ask(server, f"/api/jobs/{job_id}/artifacts/empty")
    assert (status, body, headers["Content-Length"]) == (200, b"", "0")
    _, headers, _ = ask(server, f"/api/jobs/{job_id}/artifacts/page.html")
    assert (headers["Content-Security-Policy"], headers["X-Content-Type-Options"]) == ("sandbox", "nosniff")


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=100-", 206, (100, 102_400)),
        ("bytes=-5", 206, (102_395, 102_400)),
        ("bytes=102399-999999", 206, (102_399, 102_400)),
        ("bytes=-999999", 206, (0, 102_400)),
        ("bytes=102400-", 416, None),
        ("bytes=9-3", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=0-1,5-6", 200, (0, 102_400)),
        ("lines=0-1", 200, (0, 102_400)),
    ],
)
def test_parts(left: tuple[Running, str], asked: str, status: int, span: tuple[int, int] | None) -> None:
    server, job_id = left
    got, headers, body = ask(server, f"/api/jobs/{job_id}/artifacts/digits.bin", Range=asked)
    assert got == status
    if span is None:
        assert headers["Content-Range"] == "bytes */102400"
        return
    assert body == DIGITS[slice(*span)]
    assert headers["Content-Range"] == (f"bytes {span[0]}-{span[1] - 1}/102400" if got == 206 else None)


def test_what_the_client_has_is_not_sent_and_a_part_of_another_version_never_is(left: tuple[Running, str]) -> None:
    server, job_id = left
    path = f"/api/jobs/{job_id}/artifacts/digits.bin"
    assert ask(server, path, If_None_Match=f'"{SHA}"')[0] == 304
    assert ask(server, path, Range="bytes=5-6", If_Range=f'"{SHA}"')[2] == DIGITS[5:7]
    assert ask(server, path, Range="bytes=5-6", If_Range='"other"')[2] == DIGITS


@pytest.mark.parametrize(
    "path",
    ["../run.json", "%2e%2e/run.json", "plots/../../run.json", "/etc/passwd", "%2fetc/passwd", "out", "plots", "x%00y",
     "..%5crun.json", "plots//loss.png"],
)  # fmt: skip
def test_nothing_outside_of_the_folder_is_served(left: tuple[Running, str], path: str) -> None:
    server, job_id = left
    status, _, body = ask(server, f"/api/jobs/{job_id}/artifacts/{path}")
    assert status == 404
    assert json.loads(body)["error"] == "NotFoundError"
    assert ask(server, f"/api/jobs/{job_id}/artifacts/digits.bin", token="wrong")[0] == 403


def test_a_name_that_is_nearly_right_is_named(left: tuple[Running, str]) -> None:
    status, _, body = ask(left[0], f"/api/jobs/{left[1]}/artifacts/digit.bin")
    assert (status, "did you mean 'digits.bin'?" in json.loads(body)["do"]) == (404, True)
    status, error = left[0].ask("GET", f"/api/jobs/{left[1]}/artifacts?attempt=2")
    assert (status, error["found"]) == (404, "it has had 1")


def test_while_a_job_runs_and_by_attempt(server: Running) -> None:
    job_id = server.submit(GOES_ON)
    run = server.home / "runs" / job_id
    until(lambda: "written" in server.log(job_id))
    assert files(server, job_id)["both.txt"]["sha256"] == ""  # nobody has read it yet
    _, headers, body = ask(server, f"/api/jobs/{job_id}/artifacts/both.txt")
    assert (body, headers["ETag"]) == (b"by 1", f'"{hashlib.sha256(b"by 1").hexdigest()}"')
    (run / "artifacts/both.txt").write_text("by 1, more")
    assert ask(server, f"/api/jobs/{job_id}/artifacts/both.txt")[2] == b"by 1, more"
    (run / "go1").touch()
    until(lambda: kept(server, job_id))  # its version is copied, as the job goes on
    until((run / "artifacts/only-2.txt").exists)
    (run / "go2").touch()
    assert server.wait(job_id)["state"] == "succeeded"
    until(lambda: kept(server, job_id, 2))
    found = files(server, job_id)
    assert {path: one["attempt"] for path, one in found.items()} == {
        "both.txt": 2,
        "only-1.txt": 1,
        "only-2.txt": 2,
    }
    assert set(files(server, job_id, "?attempt=1")) == {"both.txt", "only-1.txt"}
    assert ask(server, f"/api/jobs/{job_id}/artifacts/both.txt")[2] == b"by 2"
    assert ask(server, f"/api/jobs/{job_id}/artifacts/only-1.txt?attempt=1")[2] == b"1"


def test_a_worker_that_was_killed_leaves_it_to_the_server(server: Running) -> None:
    job_id = server.submit(GOES_ON.replace('== "1" else 0', '== "0" else 0'), retry={"infra": 0})
    until(lambda: "written" in server.log(job_id))
    folder = server.home / "runs" / job_id / "attempts/a1"
    os.kill(json.loads((folder / "worker.json").read_text())["worker"]["pid"], signal.SIGKILL)
    assert server.wait(job_id)["state"] == "failed"
    until(lambda: kept(server, job_id))
    assert files(server, job_id)["both.txt"]["sha256"] == hashlib.sha256(b"by 1").hexdigest()


@pytest.fixture
def remote(tmp_path: Path, s3: tuple[Proxy, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Running, Proxy]]:
    """A server that keeps artifacts in an S3 store."""
    s3[0].reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3[0].url)
    one = Running(tmp_path / "home")
    one.start("--store", f"s3://bucket/{tmp_path.name}")
    yield one, s3[0]
    one.end()


def test_a_store_that_is_away_is_waited_for_and_the_next_server_goes_on(
    remote: tuple[Running, Proxy], s3: tuple[Proxy, Path]
) -> None:
    server, proxy = remote
    proxy.rule = lambda request: Status(503)
    job_id = server.submit(LEAVES)
    assert server.wait(job_id)["state"] == "succeeded"
    until(lambda: sum(proxy.counts.values()) > 2)
    assert ask(server, f"/api/jobs/{job_id}/artifacts/digits.bin")[2] == DIGITS  # the run's folder has it
    sent: list[str] = []

    def never_ends(request: Request) -> Silence | None:
        if request.method == "PUT" and SHA in request.path:
            sent.append(request.path)
            return Silence()
        return None

    proxy.rule = never_ends  # it is back, without a restart of the server
    until(lambda: sent)
    server.kill()
    proxy.reset()
    server.start()  # it knows the store by itself
    until(lambda: kept(server, job_id))
    bucket = s3[1] / server.home.parent.name
    assert (bucket / f"blobs/{SHA[:2]}/{SHA}").read_bytes() == DIGITS
    assert len(json.loads((bucket / f"manifests/{job_id}/a1.json").read_text())["artifacts"]) == 5


def test_from_the_store_alone_in_parts_and_a_flipped_byte_is_not_the_file(remote: tuple[Running, Proxy]) -> None:
    server, proxy = remote
    job_id = server.submit(LEAVES)
    until(lambda: kept(server, job_id))
    for file in (server.home / "runs" / job_id / "artifacts").iterdir():
        if not file.is_dir():
            file.unlink()
    path = f"/api/jobs/{job_id}/artifacts/digits.bin"
    assert ask(server, path)[2] == DIGITS
    assert ask(server, path, Range="bytes=1000-1999")[2] == DIGITS[1000:2000]
    proxy.rule = first(1000, SHA, Flip(5000))
    _, headers, body = ask(server, path)
    assert hashlib.sha256(body).hexdigest() != headers["ETag"].strip('"') == SHA  # so a client sees it: test_artifacts
    proxy.rule = lambda request: Status(503)
    status, _, answer = ask(server, path)
    assert (status, "does not answer" in json.loads(answer)["found"]) == (500, True)


def checkpoint(run: Path, step: int) -> None:
    folder = run / f"checkpoints/step={step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(step))
    told = {"format": 2, "epoch": 0, "step": step, "metrics": {"loss": 1 / step}, "created_at": step, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(told))


def test_checkpoints_are_listed_pinned_removed_and_expire(server: Running) -> None:
    job_id = server.submit(GOES_ON)
    run = server.home / "runs" / job_id
    until(lambda: "written" in server.log(job_id))
    for step in (10, 20, 30, 40):
        checkpoint(run, step)
    base = f"/api/jobs/{job_id}/checkpoints"
    assert [one["step"] for one in server.get(base)] == [40, 30, 20, 10]
    assert ask(server, f"{base}/step=20/files/model.safetensors")[2] == bytes(20)
    assert ask(server, f"{base}/step=20/files/../../../run.json")[0] == 404
    assert server.ask("PUT", f"{base}/20/pin")[1]["pinned"]
    assert "it is pinned" in server.ask("DELETE", f"{base}/20")[1]["found"]
    assert "may go on from it" in server.ask("DELETE", f"{base}/40")[1]["found"]
    assert server.ask("DELETE", f"{base}/30")[0] == 200
    assert server.ask("DELETE", f"{base}/30")[0] == 404
    assert server.ask("GET", "/api/checkpoints/expired")[1]["found"] == "this server removes none"
    assert server.get("/api/checkpoints/expired?keep=1&days=0") == []  # the job has not ended
    (run / "go1").touch()
    (run / "go2").touch()
    server.wait(job_id)
    assert server.get("/api/checkpoints/expired?keep=1&days=1") == []  # it has ended just now
    assert [one["step"] for one in server.get("/api/checkpoints/expired?keep=1&days=0")] == [10]
    assert len(server.get(base)) == 3
    server.stop()
    server.start("--keep-checkpoints", "1")
    until(lambda: [one["step"] for one in server.get(base)] == [40, 20])
    assert server.get("/api/checkpoints/expired?keep=2") == []  # with its own days, 0
