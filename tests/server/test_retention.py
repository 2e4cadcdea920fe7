"""Do checkpoints and artifacts go when the rule says so, and never one that is needed?"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from leyden.core.errors import NotFoundError
from leyden.core.home import Home
from leyden.core.states import State
from leyden.jobs import life
from leyden.jobs.rows import find_job
from leyden.jobs.store import Store
from leyden.server.again import fork
from leyden.server.bodies import Again
from leyden.server.files.artifacts import Digests, find, listed
from leyden.server.files.blobs import Blobs, ObjectBlobs, open_blobs
from leyden.server.files.cleaning import Cleaner
from leyden.server.files.keeping import LOG_BYTES, Files, Keeping
from leyden.server.files.retention import EXPIRED, Retention, fates, sweep
from leyden.server.services import Services
from leyden.server.settings import Settings
from leyden.track import artifacts, checkpoints
from tests.conformance.until import until
from tests.data.faults.proxy import Proxy, Status
from tests.jobs.samples import a_job
from tests.server.running import Running

DAY_S = 86_400.0
ENDED_AT = 1_000_000.0
LATER = ENDED_AT + 31 * DAY_S
RULE = Retention(keep=1, days=30.0, artifacts_days=30.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    one = Store(home.database)
    yield one
    one.close()


def job(store: Store, state: State = State.SUCCEEDED, **changes: Any) -> str:
    """On record as it would be in that state; it ended long ago, if so."""
    row = a_job(state=state, ended_at=ENDED_AT if state.final else None, **changes)
    store.write(lambda connection: life.submit(connection, row))
    return row.id


def checkpoint(home: Home, job_id: str, step: int, **more: Any) -> Path:
    folder = home.runs / job_id / f"checkpoints/step={step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(step))
    files = {"model.safetensors": {"size_bytes": step, "crc32": 0}}
    told = {"format": 2, "epoch": 0, "step": step, "metrics": {}, "created_at": float(step), "files": files, **more}
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder


def left(home: Home, job_id: str) -> list[int]:
    return [one.step for one in checkpoints.found(home.runs / job_id / checkpoints.FOLDER)]


def do_sweep(home: Home, store: Store, *, now: float = LATER, rule: Retention = RULE) -> None:
    sweep(store, home, open_blobs("local", home.root / "store"), rule, now=now)


def test_the_newest_stays_and_the_rest_goes_on_the_day(home: Home, store: Store) -> None:
    one = job(store)
    for step in (10, 20, 30):
        checkpoint(home, one, step)
    do_sweep(home, store, now=ENDED_AT + 29 * DAY_S)
    assert left(home, one) == [30, 20, 10]
    do_sweep(home, store, rule=Retention())
    assert left(home, one) == [30, 20, 10]
    do_sweep(home, store)
    assert left(home, one) == [30]


def test_the_newest_that_is_whole_stays(home: Home, store: Store) -> None:
    one = job(store)
    for step in (10, 20, 30, 40):
        checkpoint(home, one, step)
    (home.runs / one / "checkpoints/step=30/model.safetensors").unlink()
    (home.runs / one / "checkpoints/step=40/model.safetensors").write_bytes(b"torn")
    do_sweep(home, store)
    assert left(home, one) == [20]


def test_where_none_is_whole_the_newest_stays(home: Home, store: Store) -> None:
    one = job(store)
    for step in (10, 20):
        (checkpoint(home, one, step) / "model.safetensors").unlink()
    do_sweep(home, store)
    assert left(home, one) == [20]


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.PAUSED, State.SUCCEEDED, State.FAILED])
def test_what_is_pinned_or_another_job_began_from_stays(home: Home, store: Store, state: State) -> None:
    one = job(store)
    for step in (10, 20, 30, 40):
        checkpoint(home, one, step)
    folder = home.runs / one / checkpoints.FOLDER
    checkpoints.pin(folder, "step=10", pinned=True)
    other = job(store, state, resume_from=str(folder / "step=20"), origin=one)
    do_sweep(home, store)
    assert left(home, one) == [40, 20, 10]
    told = fates(checkpoints.found(folder), RULE, ended_at=ENDED_AT, needed={"step=20": other})
    assert {name: fate.stays for name, fate in told.items()} == {
        "step=40": "newest",
        "step=20": f"{other[-4:]} began from it",
        "step=10": "pinned",
    }


def test_nothing_of_a_job_that_has_not_ended_goes(home: Home, store: Store) -> None:
    one = job(store, State.PAUSED)
    for step in (10, 20):
        checkpoint(home, one, step)
    do_sweep(home, store)
    assert left(home, one) == [20, 10]
    told = fates(checkpoints.found(home.runs / one / checkpoints.FOLDER), RULE, ended_at=None, needed={})
    assert told["step=10"].stays == "not ended"


def test_a_server_killed_while_it_removes_leaves_nothing_behind(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(store)
    for step in (10, 20):
        checkpoint(home, one, step)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        do_sweep(home, store)
    assert left(home, one) == [20]  # gone for everybody who looks
    folder = home.runs / one / checkpoints.FOLDER
    assert len([*folder.iterdir()]) == 2
    cleaner = Cleaner(
        home=home,
        store=store,
        blobs=open_blobs("local", home.root / "store"),
        busy=threading.Lock(),
        clock=lambda: time.time() + 2 * DAY_S,
    )
    cleaner.clean(days=30, really=True)
    assert [path.name for path in folder.iterdir()] == ["step=20"]


def test_what_the_server_prints_does_not_grow_for_ever(home: Home, store: Store) -> None:
    files = Files.open(home, store, Settings(), time.time)
    with home.log_file.open("a") as log:
        for text in ("short", "x" * LOG_BYTES, "later"):
            log.write(text)
            log.flush()
            files.keeping._do_chores()
    assert home.log_file.read_text() == "later"
    assert home.log_file.with_name("server.log.1").read_text() == "short" + "x" * LOG_BYTES


def test_a_fork_in_that_moment_has_its_checkpoint_or_is_refused(home: Home) -> None:
    services = Services.open(home, url="http://127.0.0.1:9", stop_grace_s=1.0)
    store, stop = services.store, threading.Event()

    def sweep_on() -> None:
        while not stop.is_set():
            do_sweep(home, store)

    thread = threading.Thread(target=sweep_on)
    thread.start()
    made = refused = 0
    try:
        for number in range(25):
            one = job(store, State.QUEUED)
            for step in (10, 20):
                checkpoint(home, one, step)
            end = f"UPDATE jobs SET state = 'succeeded', ended_at = {ENDED_AT} WHERE id = '{one}'"
            store.write(lambda connection, end=end: connection.exec_driver_sql(end))  # type: ignore[misc]
            try:
                row, _ = fork(services, one, Again(key=f"fork-{number:04}", step=10))
            except NotFoundError:
                refused += 1
                continue
            made += 1
            do_sweep(home, store)
            assert Path(row.resume_from).exists()
    finally:
        stop.set()
        thread.join()
        services.close()
    assert made + refused == 25
    assert made


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, s3: tuple[Proxy, Path], home: Home, tmp_path: Path) -> Blobs:
    s3[0].reset()
    if request.param == "local":
        return open_blobs("local", home.root / "store")
    return ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})


def leave(home: Home, blobs: Blobs, job_id: str, name: str, content: bytes) -> artifacts.Artifact:
    """An artifact of the job's first attempt, kept as keeping.py does."""
    run = home.runs / job_id
    (run / "attempts/a1").mkdir(parents=True)
    (run / "artifacts").mkdir()
    (run / "artifacts" / name).write_bytes(content)
    manifest = artifacts.make(run / "artifacts", 1)
    artifacts.write(run / "attempts/a1", manifest)
    blobs.put(manifest.artifacts[0], run / "artifacts", settled=True)
    blobs.put_manifest(f"{job_id}/a1.json", json.dumps(asdict(manifest)).encode())
    return manifest.artifacts[0]


def cleaned(home: Home, store: Store, blobs: Blobs) -> list[str]:
    """The contents that go, two days from now."""
    one = Cleaner(home=home, store=store, blobs=blobs, busy=threading.Lock(), clock=lambda: time.time() + 2 * DAY_S)
    return [piece.name for piece in one.clean(days=30, really=True).waste]


def test_artifacts_go_with_their_contents_but_for_those_that_others_have(
    home: Home, store: Store, blobs: Blobs
) -> None:
    old, young = job(store), job(store, State.QUEUED)
    mine = leave(home, blobs, old, "mine.bin", b"mine" * 1000)
    both = leave(home, blobs, young, "both.bin", b"both" * 1000)
    other = job(store)
    leave(home, blobs, other, "same.bin", b"both" * 1000)
    sweep(store, home, blobs, RULE, now=ENDED_AT + 29 * DAY_S)
    assert not (home.runs / old / EXPIRED).exists()
    sweep(store, home, blobs, RULE, now=LATER)
    assert {path.parent.name for path in home.runs.glob(f"*/{EXPIRED}")} == {old, other}
    assert {*blobs.manifests()} == {f"{young}/a1.json"}
    assert cleaned(home, store, blobs) == [mine.sha256]
    assert (blobs.has(mine), blobs.has(both)) == (False, True)
    assert (home.runs / old / "attempts/a1/artifacts.json").exists()  # what there was stays on record
    row = store.read(lambda connection: find_job(connection, old))
    view = listed(home.runs / old, row, None, RULE)
    assert (view.gone, view.artifacts) == (True, [])
    with pytest.raises(NotFoundError, match="keeps artifacts for a time only"):
        find(home.runs / old, row, "mine.bin", None, blobs, Digests())
    assert listed(home.runs / young, store.read(lambda c: find_job(c, young)), None, RULE).goes_at is None


def test_a_crash_while_artifacts_go_leaves_them_all_there_or_all_gone(
    home: Home, store: Store, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(store)
    mine = leave(home, blobs, one, "mine.bin", b"mine" * 1000)
    row = store.read(lambda connection: find_job(connection, one))

    def crash(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", crash)  # the mark
        with pytest.raises(SystemExit):
            sweep(store, home, blobs, RULE, now=LATER)
    assert cleaned(home, store, blobs) == []
    find(home.runs / one, row, "mine.bin", None, blobs, Digests()).close()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(SystemExit):
            sweep(store, home, blobs, RULE, now=LATER)
    assert listed(home.runs / one, row, None, RULE).gone
    assert (home.runs / one / "artifacts/mine.bin").exists()
    sweep(store, home, blobs, RULE, now=LATER)
    assert not (home.runs / one / "artifacts").exists()
    assert cleaned(home, store, blobs) == [mine.sha256]


def test_artifacts_stay_while_their_store_is_away(
    home: Home, store: Store, s3: tuple[Proxy, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    s3[0].reset()
    blobs = ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})
    one = job(store)
    leave(home, blobs, one, "mine.bin", b"mine")
    s3[0].rule = lambda request: Status(503)
    Keeping(home, store, blobs, lambda: sweep(store, home, blobs, RULE, now=LATER))._do_chores()
    said = capfd.readouterr()
    assert "chores wait for the store" in said.out
    assert "Traceback" not in said.err
    assert not (home.runs / one / EXPIRED).exists()
    assert (home.runs / one / "artifacts/mine.bin").exists()
    s3[0].reset()


LEAVES = """
import json, os, pathlib
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
(run / "artifacts/a.txt").write_text("hello")
for step in (1, 2):
    (run / f"checkpoints/step={step}").mkdir()
    (run / f"checkpoints/step={step}/manifest.json").write_text(json.dumps({"step": step, "created_at": step}))
"""


def test_a_server_that_was_told_how_long_says_when_and_does_it(tmp_path: Path) -> None:
    server = Running(tmp_path / "home")
    server.start("--keep-artifacts-days", "7", "--keep-checkpoints", "1", "--keep-days", "5")
    try:
        one = server.submit(LEAVES)
        ended_at = server.wait(one)["ended_at"]
        until((server.home / f"runs/{one}/attempts/a1/artifacts.kept").exists)
        assert server.get(f"/api/jobs/{one}/artifacts")["goes_at"] == ended_at + 7 * DAY_S
        newest, older = server.get(f"/api/jobs/{one}/checkpoints")
        assert (newest["stays"], newest["goes_at"]) == ("newest", None)
        assert (older["stays"], older["goes_at"]) == ("", ended_at + 5 * DAY_S)
        server.stop()
        server.start("--keep-artifacts-days", "0.000001", "--keep-days", "0")
        until(lambda: server.get(f"/api/jobs/{one}/artifacts")["gone"])
        status, error = server.ask("GET", f"/api/jobs/{one}/artifacts/a.txt")
        assert (status, "keeps artifacts for a time only" in error["found"]) == (404, True)
        assert [found["step"] for found in server.get(f"/api/jobs/{one}/checkpoints")] == [2]
    finally:
        server.end()
