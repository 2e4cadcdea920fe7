"""Do the files of a job come where they are wanted: whole, or not at all?"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.client import embedded
from leyden.client.api import Client
from leyden.client.download import Wanted, fetch
from leyden.core.errors import UnreachableError
from tests.data.faults.proxy import Flip, Proxy, first
from tests.data.faults.server import s3_server
from tests.end_to_end.conftest import Platform, Terminal, until

LEAVES = """
import json, leyden, os, pathlib
run = pathlib.Path(os.environ["LEYDEN_RUN_DIR"])
for name, data in {
    "model.bin": bytes(range(256)) * 20_000, "plots/loss.png": b"png", "plots/deep/acc.png": b"acc", "notes.txt": b"ok"
}.items():
    (run / "artifacts" / name).parent.mkdir(parents=True, exist_ok=True)
    (run / "artifacts" / name).write_bytes(data)
(run / "artifacts/run.sh").write_text("true")
(run / "artifacts/run.sh").chmod(0o755)
for step in (10, 20, 30):
    folder = run / f"checkpoints/epoch={step // 10}-step={step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(step))
    told = {"format": 2, "epoch": step // 10, "step": step, "metrics": {"val_loss": 1 / step}, "files": {}}
    (folder / "manifest.json").write_text(json.dumps({**told, "created_at": 1_800_000_000.0 + step}))
(run / "checkpoints/last").symlink_to("epoch=3-step=30")
"""
MODEL = bytes(range(256)) * 20_000
SHA = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose newest job has left files."""
    platform = Platform(tmp_path_factory.mktemp("done"))
    try:
        platform.write("leaves.py", LEAVES)
        platform.leyden("run", "leaves.py")
        yield platform
    finally:
        platform.close()


def here(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


ALL = {"model.bin", "plots/loss.png", "plots/deep/acc.png", "notes.txt", "run.sh"}


def test_cp(done: Platform) -> None:
    listed = done.leyden("cp", "last:").stdout
    assert "plots/deep/acc.png" in listed
    assert "5 files, 5.12 MB" in listed
    (job,) = done.json("ps")
    assert {one["path"] for one in done.json("cp", f"{job['id'][-4:]}:plots")} == {
        "plots/loss.png",
        "plots/deep/acc.png",
    }
    for source, goal, expected in [
        ("last:", "all", ALL),
        (":.", "all2", ALL),
        ("last:notes.txt", "notes2.txt", None),
        ("last:plots", "here", {"plots/loss.png", "plots/deep/acc.png"}),
        ("last:**/*.png", "there", {"plots/loss.png", "plots/deep/acc.png"}),
        ("last:plots/*.png", "flat", {"loss.png"}),
    ]:
        done.leyden("cp", source, goal)
        if expected is None:
            assert (done.project / goal).read_text() == "ok"
        else:
            assert here(done.project / goal) == expected
    assert (done.project / "all/run.sh").stat().st_mode & 0o111
    assert (done.project / "all/model.bin").read_bytes() == MODEL
    screen = Terminal(done, "cp", "last:model.bin", "watched.bin")
    assert screen.end() == 0
    screen.close()
    assert "%  " in screen.text


def test_nothing_is_overwritten_unless_asked_and_a_broken_copy_goes_on(done: Platform) -> None:
    done.write("got/notes.txt", "mine")
    refused = done.leyden("cp", "last:", "got", check=1)
    assert "notes.txt was to be written; it is there already" in refused.stderr
    assert here(done.project / "got") == {"notes.txt"}
    done.leyden("cp", "-f", "last:", "got")
    assert (done.project / "got/notes.txt").read_text() == "ok"
    (done.project / "got/run.sh").unlink()
    fetched = json.loads(done.leyden("cp", "last:", "got", "-o", "json").stdout)  # the same content is no obstacle
    assert len(fetched) == len(ALL)
    assert here(done.project / "got") == ALL
    for args, words in [
        (("last:model.bim", "."), "did you mean 'model.bin'?"),
        (("model.bin", "."), "Write JOB:PATH"),
        (("last:plots", "got/notes.txt"), "that is a file"),
    ]:
        failed = done.leyden("cp", *args, check=None)
        assert failed.returncode in {2, 3}
        assert words in failed.stderr


def test_a_draft_is_gone_on_with_by_range_and_a_wrong_one_is_made_anew(done: Platform) -> None:
    endpoint = embedded.find(done.home)
    assert endpoint
    client = Client(endpoint)
    view = client.artifacts("last")
    goal = done.project / "draft/model.bin"
    goal.parent.mkdir()
    wanted = Wanted(
        url_path=f"/api/jobs/{view.job}/artifacts/model.bin", name="model.bin", goal=goal, size_bytes=len(MODEL)
    )
    draft = goal.with_name(f".model.bin.{SHA}.part")
    for half, fetched in [(MODEL[:3_000_000], len(MODEL)), (bytes(3_000_000), len(MODEL))]:
        draft.write_bytes(half)
        told: list[int] = []
        assert fetch(lambda: client, wanted, told=told.append) == SHA
        assert (told[0], sum(told)) == (3_000_000, fetched)
        assert goal.read_bytes() == MODEL
        assert not draft.exists()
    draft.with_name(f".model.bin.{'0' * 64}.part").write_bytes(b"of another version")
    assert fetch(lambda: client, wanted) == SHA
    assert here(goal.parent) == {"model.bin"}

    calls = itertools.count()

    def restarting() -> Client:
        if next(calls) == 0:
            raise UnreachableError(asked="a", found="b", do="c")
        return client

    assert fetch(restarting, wanted, pause_s=0.01) == SHA


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[Proxy]:
    (tmp_path / "s3/bucket").mkdir(parents=True)
    with s3_server(tmp_path / "s3") as port:
        proxy = Proxy(port)
        yield proxy
        proxy.close()


def test_a_byte_flipped_on_the_way_from_the_store_is_refused_by_name(platform: Platform, s3: Proxy) -> None:
    platform.environ["AWS_ENDPOINT_URL"] = s3.url
    platform.leyden("server", "start", "--store", "s3://bucket/team")
    platform.write("leaves.py", LEAVES)
    platform.leyden("run", "leaves.py")
    (job,) = platform.json("ps")
    run = Path(job["run_dir"])
    until((run / "attempts/a1/artifacts.kept").exists, "keeping")
    (run / "artifacts/model.bin").unlink()
    s3.rule = first(1000, SHA, Flip(1_000_000))
    failed = platform.leyden("cp", "last:model.bin", "got.bin", check=1)
    assert "error: model.bin was fetched; it arrived damaged, twice: SHA-256" in failed.stderr
    assert SHA in failed.stderr
    assert here(platform.project) == {"leaves.py"}
    s3.counts.clear()
    s3.rule = first(2, SHA, Flip(1_000_000))  # HEAD, GET: the first try alone
    platform.leyden("cp", "last:model.bin", "got.bin")
    assert (platform.project / "got.bin").read_bytes() == MODEL


def test_ckpt(done: Platform) -> None:
    listed = done.leyden("ckpt", "ls").stdout
    assert "epoch=3-step=30" in listed
    assert "val_loss 0.03333" in listed
    assert [one["names"] for one in done.json("ckpt", "ls", "last")] == [["last"], [], []]
    for name, step in [("last", 30), ("10", 10), ("newest", 30)]:
        goal = done.project / name
        printed = done.leyden("ckpt", "get", "last", name, str(goal)).stdout.strip()
        assert here(Path(printed)) == {"model.safetensors", "manifest.json"}
        assert (Path(printed) / "model.safetensors").read_bytes() == bytes(step)
    assert "it is there already" in done.leyden("ckpt", "get", "last", "10", "10", check=1).stderr
    done.leyden("ckpt", "get", "-f", "last", "10", "10")
    done.leyden("ckpt", "pin", "last", "10")
    assert "it is pinned" in done.leyden("ckpt", "rm", "last", "10", check=1).stderr
    expired = done.json("ckpt", "ls", "--expired", "--keep", "1", "--days", "0")
    assert [one["step"] for one in expired] == [20]
    assert "this server removes none" in done.leyden("ckpt", "ls", "--expired", check=2).stderr
    done.leyden("ckpt", "pin", "--off", "last", "10")
    assert "epoch=1-step=10 of " in done.leyden("ckpt", "rm", "last", "10", "30").stdout
    assert [one["step"] for one in done.json("ckpt", "ls")] == [20]
    assert "there is none of that name" in done.leyden("ckpt", "rm", "last", "10", check=3).stderr
