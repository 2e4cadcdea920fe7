"""Does what nobody needs go, all of it, and nothing that a job needs or is about to need?"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from leyden.core.home import Home
from leyden.core.house import CleanView
from leyden.jobs import life
from leyden.jobs.store import Store
from leyden.server.files import cleaning, waste
from leyden.server.files.blobs import Blobs, ObjectBlobs, open_blobs
from leyden.server.files.cleaning import Cleaner
from leyden.server.files.keeping import SETTLED_S, Files
from leyden.server.launching import keep_environ, renew
from leyden.server.settings import Settings
from leyden.server.tracking.rows import RunRow, save_runs
from leyden.track import artifacts
from leyden.worker.environment import _hold
from tests.data.faults.proxy import Proxy, Status
from tests.jobs.samples import a_job
from tests.server.running import Running
from tests.server.test_app import archive

DAY_S = 86_400.0


def cleaner(home: Home, store: Store, blobs: Blobs | None = None, *, ahead_s: float = 2 * DAY_S) -> Cleaner:
    """As it would be that much later."""
    return Cleaner(
        home=home,
        store=store,
        blobs=blobs or open_blobs("local", home.root / "store"),
        busy=threading.Lock(),
        clock=lambda: time.time() + ahead_s,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """With no job in it."""
    one = Store(home.database)
    yield one
    one.close()


def names(view: CleanView) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in view.waste:
        found.setdefault(one.kind, []).append(one.name)
    return found


def environment(home: Home, key: str, *, used_days_ago: float = 0.0) -> Path:
    folder = home.envs / key
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_bytes(bytes(10_000))
    lock = home.envs / f".{key}.lock"
    lock.touch()
    os.utime(lock, (0, time.time() - used_days_ago * DAY_S))
    return folder


def tree(home: Home, content: bytes, *, days_old: float = 0.0) -> Path:
    file = home.code / f"{hashlib.sha256(content).hexdigest()}.tar.gz"
    file.write_bytes(content)
    os.utime(file, (0, time.time() - days_old * DAY_S))
    return file


def test_nothing_goes_from_a_home_in_which_nothing_is_too_much(home: Home, store: Store) -> None:
    environment(home, "abcd")
    tree(home, b"just uploaded")
    keep_environ(home, {"A": "1"})
    before = sorted(home.root.rglob("*"))
    view = cleaner(home, store, ahead_s=0.0).clean(days=30, really=True)
    assert (view.waste, view.left) == ([], [])
    assert sorted(home.root.rglob("*")) == sorted([*before, home.root / "cleaned"])


def test_what_is_shown_is_what_goes(home: Home, store: Store) -> None:
    environment(home, "abcd", used_days_ago=40)
    environment(home, "efgh", used_days_ago=20)
    (home.git / "1234.git").mkdir(parents=True)
    (home.git / "1234.git/HEAD").write_text("ref")
    (home.git / "1234.lock").touch()
    os.utime(home.git / "1234.lock", (0, 0))
    file, variables = tree(home, b"no job came of it"), keep_environ(home, {"SECRET": "1"})
    one = cleaner(home, store)
    shown = one.clean(days=30, really=False)
    expected = {
        "environment": ["abcd"],
        "repository": ["1234.git"],
        "tree": [file.name],
        "variables": [f"{variables}.json"],
    }
    assert names(shown) == expected
    assert not shown.removed
    assert all(piece.size_bytes >= 4096 for piece in shown.waste)
    assert file.exists()
    assert names(one.clean(days=30, really=True)) == expected
    assert {path.name for path in home.envs.glob("[!.]*")} == {"efgh"}
    assert [*home.code.iterdir()] == [*home.git.glob("*.git")] == [*(home.root / "environs").iterdir()] == []
    assert names(one.clean(days=0, really=True)) == {"environment": ["efgh"]}


def test_an_environment_in_use_stays_and_counts_as_used(home: Home, store: Store) -> None:
    folder = environment(home, "abcd", used_days_ago=400)
    lock = home.envs / ".abcd.lock"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert cleaner(home, store).clean(days=30, really=True).waste == []
    assert time.time() - lock.stat().st_mtime < 60
    assert cleaner(home, store).clean(days=30, really=True).waste == []
    os.utime(lock, (0, 0))
    (found,) = [*waste.environments(home, (), before=time.time() - 1)]
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert not found.take()  # it came to be used after it was looked at
    os.utime(lock)
    assert not found.take()  # and was used in between
    os.utime(lock, (0, 0))
    assert found.take()
    assert not folder.exists()


def test_the_worker_of_a_real_job_holds_its_environment(home: Home, store: Store) -> None:
    """The lock is the worker's own: worker.environment._hold."""
    folder = environment(home, "abcd", used_days_ago=400)
    program = (
        "import pathlib, sys; from leyden.worker.environment import _hold;"
        f"print(_hold(pathlib.Path({str(folder)!r})), flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin
    assert worker.stdout
    assert worker.stdout.readline() == b"True\n"
    assert cleaner(home, store, ahead_s=900 * DAY_S).clean(days=0, really=True).waste == []
    worker.kill()
    worker.communicate()
    assert names(cleaner(home, store, ahead_s=900 * DAY_S).clean(days=30, really=True)) == {"environment": ["abcd"]}


def test_a_job_that_enters_in_that_moment_has_its_environment_or_builds_it(home: Home, store: Store) -> None:
    one, stop, entered = cleaner(home, store, ahead_s=0.0), threading.Event(), []

    def clean() -> None:
        while not stop.is_set():
            one.clean(days=30, really=True)

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for number in range(100):
            folder = environment(home, f"{number:04}", used_days_ago=40)
            while folder.exists():
                if _hold(folder):  # as a worker does, which this process is for the test
                    entered.append(folder)
                    break
    finally:
        stop.set()
        thread.join()
    one.clean(days=30, really=True)
    assert len(entered) > 10
    assert [folder for folder in entered if not (folder / "bin/python").exists()] == []
    assert len([*home.envs.glob("[!.]*")]) == len(entered)


@pytest.mark.parametrize("name", ["envs/.gone-abcd-1", "envs/.abcd.draft", "git/.checkout-x", "git/.gone-12.git-1"])
def test_what_somebody_left_half_done_goes(home: Home, store: Store, name: str) -> None:
    (home.root / name / "lib").mkdir(parents=True)
    (home.root / name / "lib/file").write_bytes(bytes(10_000))
    (home.root / name).parent.joinpath(".abcd.lock").touch()
    assert names(cleaner(home, store).clean(days=30, really=True)) == {"leftover": [Path(name).name]}
    assert not (home.root / name).exists()


@pytest.mark.parametrize(
    "name", ["code/.upload-x", "environs/.ab.json.1-2", ".server.json.1-2", "store/blobs/ab/.ab.1"]
)
def test_drafts_go_once_they_are_nobodys(home: Home, store: Store, name: str) -> None:
    (home.root / name).parent.mkdir(parents=True, exist_ok=True)
    (home.root / name).touch()
    assert cleaner(home, store, ahead_s=600.0).clean(days=30, really=True).waste == []
    assert names(cleaner(home, store).clean(days=30, really=True)) == {"leftover": [Path(name).name]}


def test_a_crash_between_hiding_and_removing_leaves_it_to_the_next_time(
    home: Home, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = environment(home, "abcd", used_days_ago=40)

    def crash(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", crash)
        with pytest.raises(SystemExit):
            cleaner(home, store).clean(days=30, really=True)
    assert not folder.exists()  # whole or not at all
    (left,) = cleaner(home, store).clean(days=30, really=True).waste
    assert left.name.startswith(".gone-abcd-")
    assert [*home.envs.glob("*")] == [home.envs / ".abcd.lock"]


def test_a_tree_that_is_asked_for_in_that_moment_stays(home: Home, store: Store) -> None:
    """Over and over: whoever heard that it is there has it; whoever did not hear so uploads it."""
    one, stop, heard, lost = cleaner(home, store, ahead_s=0.0), threading.Event(), 0, 0

    def clean() -> None:
        while not stop.is_set():
            one.clean(days=30, really=True)

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for number in range(6000):
            if number >= 300 and heard > 10:
                break  # mostly at once; where two cleanings share one core the moment is met more rarely
            file = tree(home, str(number).encode(), days_old=2)
            while not stop.wait(0.0002) and file.exists():
                if renew(file):  # HEAD /api/code/…
                    heard += 1
                    lost += not renew(file)  # POST /api/jobs
                    break
    finally:
        stop.set()
        thread.join()
    assert lost == 0
    assert heard > 10


def test_jobs_that_are_submitted_while_the_server_cleans(server: Running) -> None:
    """Each with a tree of its own that was uploaded, and forgotten, days ago."""
    job = server.submission("", command=[sys.executable, "-c", "print('here')"])
    ids = []
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            server.ask("POST", "/api/clean?days=0")

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for number in range(12):
            content = packed(f"print({number})")
            file = tree(Home(server.home), content, days_old=2)
            sha256 = file.name.removesuffix(".tar.gz")
            if server.ask("HEAD", f"/api/code/{sha256}")[0] == 404:
                assert server.ask("PUT", f"/api/code/{sha256}", content)[0] == 204
            body = {**job, "code": sha256, "cwd": ".", "key": f"number-{number}"}
            status, found = server.ask("POST", "/api/jobs", body)
            assert status == 201, found
            ids.append(found["id"])
    finally:
        stop.set()
        thread.join()
    assert {server.wait(one)["state"] for one in ids} == {"succeeded"}
    for one in ids:
        code = server.get(f"/api/jobs/{one}")["code"]
        assert (server.home / "code" / f"{code}.tar.gz").exists()


def packed(program: str) -> bytes:
    return archive({"main.py": program})


def test_records_and_what_jobs_were_made_from_always_stay(server: Running) -> None:
    content = packed("print('main')")
    sha256 = hashlib.sha256(content).hexdigest()
    server.ask("PUT", f"/api/code/{sha256}", content)
    body = {**server.submission("", command=[sys.executable, "main.py"]), "code": sha256, "cwd": "."}
    _, job = server.ask("POST", "/api/jobs", body)
    assert server.wait(job["id"])["state"] == "succeeded"
    old(server.home)
    before = {path.relative_to(server.home) for path in (server.home / "runs").rglob("*")}
    status, view = server.ask("POST", "/api/clean?days=0")
    assert (status, view["waste"], view["left"]) == (200, [], [])
    assert {path.relative_to(server.home) for path in (server.home / "runs").rglob("*")} == before
    _, again = server.ask("POST", f"/api/jobs/{job['id']}/retry", {"key": "once-more"})
    assert server.wait(again["id"])["state"] == "succeeded"


def old(home: Path) -> None:
    """All of it, as if it had lain there for years."""
    for path in home.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))


def test_trees_stay_where_the_database_does_not_know_the_runs(home: Home, store: Store) -> None:
    """As after `--database` was changed: those of before were made from some."""
    file = tree(home, b"of another database", days_old=400)
    (home.runs / "0c8n0v1c03").mkdir()
    (home.runs / "0c8n0v1c04").mkdir()
    known = RunRow(id="0c8n0v1c04", name="from afar", user="ada", created_at=1.0)  # a run without a job
    store.write(lambda connection: save_runs(connection, [known]))
    view = cleaner(home, store).clean(days=30, really=True)
    assert view.waste == []
    assert view.left == ["1 runs are not in this server's database: captured trees were left"]
    assert file.exists()


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, s3: tuple[Proxy, Path], home: Home, tmp_path: Path) -> Blobs:
    s3[0].reset()
    if request.param == "local":
        return open_blobs("local", home.root / "store")
    return ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})


def leave(folder: Path, blobs: Blobs, name: str, content: bytes) -> artifacts.Artifact:
    """In the store, in no run's folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    one = artifacts.take(folder, name)
    blobs.put(one, folder, settled=False)
    (folder / name).unlink()
    return one


def record(home: Home, job_id: str, attempt: int, *kept: artifacts.Artifact) -> artifacts.Manifest:
    manifest = artifacts.Manifest(attempt=attempt, artifacts=kept)
    folder = home.runs / job_id / f"attempts/a{attempt}"
    folder.mkdir(parents=True)
    artifacts.write(folder, manifest)
    return manifest


def on_record(store: Store, **changes: Any) -> str:
    row = a_job(**changes)
    store.write(lambda connection: life.submit(connection, row))
    return row.id


def test_contents_of_no_manifest_go_and_all_others_stay(home: Home, store: Store, blobs: Blobs, tmp_path: Path) -> None:
    job_id, folder = on_record(store), tmp_path / "files"
    mine = leave(folder, blobs, "mine", b"a job's")
    sent = leave(folder, blobs, "sent", b"a job's, of which only the store tells")
    nobodys = leave(folder, blobs, "nobodys", b"nobody's" * 1000)
    record(home, job_id, 1, mine)
    blobs.put_manifest(
        f"{job_id}/a2.json", json.dumps(asdict(artifacts.Manifest(attempt=2, artifacts=(sent,)))).encode()
    )
    one = cleaner(home, store, blobs)
    assert cleaner(home, store, blobs, ahead_s=0.0).clean(days=30, really=True).waste == []  # a day's grace
    assert names(one.clean(days=30, really=False)) == {"content": [nobodys.sha256]}
    assert blobs.has(nobodys)
    assert names(one.clean(days=30, really=True)) == {"content": [nobodys.sha256]}
    assert (blobs.has(mine), blobs.has(sent), blobs.has(nobodys)) == (True, True, False)
    assert one.clean(days=30, really=True).waste == []


def test_a_store_that_is_shared_is_left_alone(home: Home, store: Store, blobs: Blobs, tmp_path: Path) -> None:
    nobodys = leave(tmp_path / "files", blobs, "nobodys", b"nobody's")
    blobs.put_manifest("0c8n0v1c03/a1.json", json.dumps(asdict(artifacts.Manifest(attempt=1, artifacts=()))).encode())
    view = cleaner(home, store, blobs).clean(days=30, really=True)
    assert (view.waste, blobs.has(nobodys)) == ([], True)
    assert "of another server's jobs" in view.left[0]


def test_contents_stay_where_not_all_manifests_can_be_read(home: Home, store: Store, tmp_path: Path) -> None:
    blobs, job_id = open_blobs("local", home.root / "store"), on_record(store)
    nobodys = leave(tmp_path / "files", blobs, "nobodys", b"nobody's")
    record(home, job_id, 1)
    (home.runs / job_id / "attempts/a1/artifacts.json").write_text("{ torn")
    view = cleaner(home, store, blobs).clean(days=30, really=True)
    assert (view.waste, blobs.has(nobodys)) == ([], True)
    assert "cannot be read" in view.left[0]


def test_a_store_that_is_away_is_told_and_the_rest_is_cleaned(
    home: Home, store: Store, s3: tuple[Proxy, Path], tmp_path: Path
) -> None:
    s3[0].reset()
    blobs = ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})
    s3[0].rule = lambda request: Status(503)
    environment(home, "abcd", used_days_ago=40)
    view = cleaner(home, store, blobs).clean(days=30, really=True)
    assert names(view) == {"environment": ["abcd"]}
    assert "does not answer" in view.left[0]
    s3[0].reset()


def test_contents_that_are_being_kept_are_not_looked_at(
    home: Home, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blobs("local", home.root / "store")
    nobodys = leave(tmp_path / "files", blobs, "nobodys", b"nobody's")
    monkeypatch.setattr(cleaning, "BUSY_S", 0.05)
    one = cleaner(home, store, blobs)
    with one.busy:
        view = one.clean(days=30, really=True)
    assert (view.waste, blobs.has(nobodys), "being sent" in view.left[0]) == ([], True, True)


def test_the_server_cleans_by_itself_once_a_day(home: Home, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    environment(home, "abcd", used_days_ago=40)
    files = Files.open(home, store, Settings(), lambda: now)
    files.keeping._do_chores()
    assert (home.envs / "abcd").exists()  # it has only just started
    now += SETTLED_S + 1
    files.keeping._do_chores()
    assert not (home.envs / "abcd").exists()
    assert "removed environment abcd" in capfd.readouterr().out
    assert files.keeping.home_bytes
    environment(home, "efgh", used_days_ago=40)
    now += DAY_S / 2
    files.keeping._do_chores()
    assert (home.envs / "efgh").exists()
    now += DAY_S
    files.keeping._do_chores()
    assert not (home.envs / "efgh").exists()


def test_a_server_that_was_told_not_to_clean_does_not(home: Home, store: Store) -> None:
    now = time.time()
    environment(home, "abcd", used_days_ago=4000)
    files = Files.open(home, store, Settings(clean_days=0), lambda: now)
    now += 40 * DAY_S
    files.keeping._do_chores()
    assert (home.envs / "abcd").exists()
