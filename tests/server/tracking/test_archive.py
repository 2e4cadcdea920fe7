"""Do sealed points reach the store, come back whole from there alone, and go with their run?"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from leyden.core.errors import RecordError, ServerError
from leyden.core.home import Home
from leyden.core.ids import new_id
from leyden.jobs.store import Store
from leyden.server.files.blobs import AwayError, Blobs, ObjectBlobs, open_blobs
from leyden.server.files.cleaning import Cleaner
from leyden.server.tracking.archive import Archive, manifest_of
from leyden.server.tracking.sealing import seal
from leyden.track import sealed
from leyden.track.points import RunPoints
from leyden.track.read import read_metrics, read_run
from leyden.track.sealed import KEPT, SEALED
from tests.conformance.until import until
from tests.data.faults.proxy import Flip, Proxy, Request, Silence, Status, first
from tests.server.running import Running
from tests.server.tracking.test_sealing import piece, write


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, s3: tuple[Proxy, Path], tmp_path: Path) -> Blobs:
    s3[0].reset()
    if request.param == "folder":
        return open_blobs(str(tmp_path / "elsewhere"), tmp_path / "store")
    return ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})


@pytest.fixture
def archive(blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    one = Archive(tmp_path / "runs", blobs, threading.Lock())
    monkeypatch.setattr(sealed, "_bring", one.bring)
    return one


def ended(tmp_path: Path, offset: float = 0.0) -> Path:
    folder = tmp_path / "runs" / new_id()
    write(folder, "a1-r0.frames", piece(range(20_000), offset))
    assert seal(folder) is not None
    return folder


def test_what_was_sent_is_read_from_the_store_alone_and_sealed_again(archive: Archive, tmp_path: Path) -> None:
    folder = ended(tmp_path)
    before, lines, size = read_run(folder), read_metrics(folder), (folder / SEALED).stat().st_size
    assert archive.unkept() == {folder.name}
    archive.keep(folder.name)
    archive.keep(folder.name)
    assert archive.unkept() == set()
    points = RunPoints(folder)
    points.refresh(None)
    (folder / SEALED).unlink()
    points.refresh()
    curve = points.curve(0, "loss")
    assert curve is not None
    assert curve.count == 20_000
    assert (folder / SEALED).stat().st_size == size
    (folder / SEALED).unlink()
    assert (read_run(folder), read_metrics(folder)) == (before, lines)

    (folder / SEALED).unlink()
    write(folder, "a2-r0.frames", piece(range(19_000, 25_000), 7.0))
    again = read_run(folder)
    assert seal(folder, least_bytes=0) is not None
    assert archive.unkept() == {folder.name}  # what the store has is the file before
    archive.keep(folder.name)
    (folder / SEALED).unlink()
    assert read_run(folder) == again
    assert list(again["loss"].steps) == list(range(25_000))


def test_copies_read_longest_ago_go_first(tmp_path: Path, blobs: Blobs) -> None:
    folders = [ended(tmp_path, offset) for offset in (0.0, 1.0, 2.0, 3.0)]
    size = (folders[0] / SEALED).stat().st_size
    archive = Archive(tmp_path / "runs", blobs, threading.Lock(), most_bytes=2 * size + size // 2)

    def here() -> list[bool]:
        return [(one / SEALED).exists() for one in folders]

    for one in folders[:2]:
        archive.keep(one.name)
    os.utime(folders[0] / SEALED, (time.time() + 60, time.time()))  # it is read
    archive.keep(folders[2].name)
    assert here() == [True, False, True, True]  # the last was never sent
    archive.bring(folders[1])
    assert here() == [True, True, False, True]
    Archive(tmp_path / "runs", blobs, threading.Lock(), most_bytes=0).bring(folders[2])
    assert here() == [False, False, True, True]  # what somebody is about to read stays


def test_cleaning_keeps_it_until_the_run_is_gone(
    archive: Archive, tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path).create()
    folder, other = ended(tmp_path), ended(tmp_path, 1.0)
    store = Store(home.database)
    monkeypatch.setattr("leyden.server.files.cleaning._load", _knows({folder.name, other.name}))
    cleaner = Cleaner(home=home, store=store, blobs=blobs, busy=threading.Lock(), clock=lambda: time.time() + 1e7)
    try:
        for one in (folder, other):
            archive.keep(one.name)
            (one / SEALED).unlink()
        (other / KEPT).unlink()  # as in a home brought back from a backup: only the store knows
        assert cleaner.clean(days=0, really=True).waste == []
        archive.bring(folder)
        archive.forget(folder.name)
        (folder / KEPT).unlink()
        [gone] = cleaner.clean(days=0, really=True).waste
        assert gone.why == "no job's artifact"
        assert list(blobs.manifests()) == [manifest_of(other.name)]
    finally:
        store.close()


def _knows(runs: set[str]) -> object:
    from leyden.server.files.cleaning import _Known

    known = _Known(runs=frozenset(runs), codes=frozenset(), environs=frozenset(), open=())
    return lambda _: known


def test_uploads_that_break_off_and_bytes_that_are_wrong(s3: tuple[Proxy, Path], tmp_path: Path) -> None:
    proxy = s3[0]
    proxy.reset()
    store = ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": proxy.url})
    archive, folder = Archive(tmp_path / "runs", store, threading.Lock()), ended(tmp_path)
    for rule in (lambda _: Status(503), first(100, "blobs", Status(503)), first(100, "manifests", Status(503))):
        proxy.rule = rule
        with pytest.raises(AwayError):
            archive.keep(folder.name)
        assert archive.unkept() == {folder.name}
        assert (folder / SEALED).exists()
    proxy.rule = None
    archive.keep(folder.name)
    (folder / SEALED).unlink()
    for rule, words in (
        (first(100, "blobs", Flip(5000)), "has other bytes"),
        (lambda _: Status(503), "does not answer"),
        (lambda _: Status(404), "has them no more"),
    ):
        proxy.rule = rule
        with pytest.raises(ServerError, match=words):
            archive.bring(folder)
        assert [one.name for one in folder.iterdir() if one.is_file()] == [KEPT]
    with pytest.raises(RecordError, match="its server has sent them to a store"):
        read_run(folder)  # in a process that is no server
    proxy.rule = None
    archive.bring(folder)
    assert len(read_run(folder)["loss"].steps) == 20_000


def test_the_server_sends_what_it_sealed_and_the_next_one_what_was_broken_off(
    s3: tuple[Proxy, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, sent = s3[0], list[str]()
    proxy.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

    def never_ends(request: Request) -> Silence | None:
        if request.method != "PUT":
            return None
        sent.append(request.path)
        return Silence()

    proxy.rule = never_ends
    server, run = Running(tmp_path / "home"), new_id()
    server.start("--store", f"s3://bucket/{tmp_path.name}")
    try:
        data = b"".join(piece(range(start, start + 1000)) for start in range(0, 20_000, 1000))
        assert server.ask("PUT", f"/api/runs/{run}/files/metrics/a1-r0.frames", data)[0] == 200
        finished = json.dumps({"state": "finished", "at": 1_800_000_000.0}).encode()
        assert server.ask("PUT", f"/api/runs/{run}/files/finished.json", finished)[0] == 200
        until(lambda: sent)
        (curve,) = server.get(f"/api/runs/{run}/series?name=loss&points=50")  # meanwhile too
        server.kill()
        proxy.reset()
        server.start()
        folder, bucket = server.home / "runs" / run, s3[1] / tmp_path.name
        until((folder / KEPT).exists)
        assert (bucket / "manifests" / manifest_of(run)).exists()
        (folder / SEALED).unlink()
        lines = {one["name"]: one["count"] for one in server.get(f"/api/runs/{run}")["metrics"]}
        assert lines == {"loss": 20_000, "acc": 20_000}
        assert not (folder / SEALED).exists()  # the database knows as much
        with server.open("GET", f"/api/runs/{run}/files/{SEALED}") as response:
            assert response.read()[:4] == b"PAR1"
        (folder / SEALED).unlink()
        assert server.get(f"/api/runs/{run}/series?name=loss&points=50") == [curve]
        best = min(_took(server, f"/api/runs/{run}/series?name=acc&points=1000&low={low}") for low in range(5))
        assert best < 0.1  # 5 ms on a machine that does nothing else
        assert server.ask("DELETE", f"/api/runs/{run}")[0] == 204
        assert not (bucket / "manifests" / manifest_of(run)).exists()
    finally:
        server.end()


def _took(server: Running, path: str) -> float:
    begun = time.perf_counter()
    server.get(path)
    return time.perf_counter() - begun
