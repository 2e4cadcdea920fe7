"""Do both stores keep what has the hash, and nothing else, through a real S3 server too?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from leyden.core.errors import UsageError
from leyden.server.files import blobs
from leyden.server.files.blobs import AwayError, Blobs, ChangedError, LocalBlobs, ObjectBlobs, open_blobs
from leyden.track import artifacts
from leyden.track.artifacts import Artifact
from tests.data.faults.proxy import Proxy, Reset, Status, first
from tests.data.faults.server import free_port

BIG = 2 * blobs.PIECE + 12_345


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, s3: tuple[Proxy, Path], tmp_path: Path) -> Blobs:
    s3[0].reset()
    if request.param == "local":
        return open_blobs("local", tmp_path / "store")
    return ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    return tmp_path / "artifacts"


def leave(folder: Path, name: str, data: bytes) -> Artifact:
    (folder / name).write_bytes(data)
    return artifacts.take(folder, name)


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("size", [0, 1000, BIG])
def test_kept_content_is_read_back_whole_and_in_parts(store: Blobs, folder: Path, size: int, settled: bool) -> None:
    data = os.urandom(size)
    artifact = leave(folder, "file", data)
    assert not store.has(artifact)
    store.put(artifact, folder, settled=settled)
    assert store.has(artifact)
    store.put(artifact, folder, settled=settled)  # as after a crash
    (folder / "file").unlink()
    assert b"".join(store.read(artifact.sha256, 0, size)) == data
    assert b"".join(store.read(artifact.sha256, size // 2, size - 1 if size else 0)) == data[size // 2 : -1]


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_file_that_has_changed_is_not_kept_under_the_old_hash(store: Blobs, folder: Path, size: int) -> None:
    artifact = leave(folder, "file", bytes(size))
    (folder / "file").write_bytes(bytes(size - 1) + b"!")
    for settled in (True, False):
        with pytest.raises(ChangedError):
            store.put(artifact, folder, settled=settled)
    assert not store.has(artifact)
    (folder / "file").unlink()
    with pytest.raises(FileNotFoundError):
        store.put(artifact, folder, settled=True)
    with pytest.raises(FileNotFoundError):
        b"".join(store.read(artifact.sha256, 0, size))


def test_a_settled_file_gets_a_second_name_and_others_are_copied(folder: Path, tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "store", "local")
    settled, open_ = leave(folder, "settled", b"one"), leave(folder, "open", b"two")
    store.put(settled, folder, settled=True)
    store.put(open_, folder, settled=False)
    (folder / "open").write_text("changed")
    assert b"".join(store.read(open_.sha256, 0, 3)) == b"two"
    assert (folder / "settled").stat().st_nlink == 2
    assert (folder / "settled").stat().st_mode & 0o222 == 0
    assert (folder / "open").stat().st_mode & 0o200
    assert list((tmp_path / "store").rglob(".*")) == []


def test_a_link_inside_the_folder_is_kept_as_its_file(folder: Path, tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "store", "local")
    leave(folder, "real", b"one")
    (folder / "link").symlink_to("real")
    link = artifacts.take(folder, "link")
    store.put(link, folder, settled=True)
    kept = tmp_path / "store" / blobs.blob_name(link.sha256)
    assert kept.is_file()
    assert not kept.is_symlink()


@pytest.mark.parametrize("size", [1000, BIG])
def test_a_store_that_is_away_says_so_and_nothing_is_half_there(
    s3: tuple[Proxy, Path], folder: Path, tmp_path: Path, size: int
) -> None:
    s3[0].reset()
    data = os.urandom(size)
    artifact = leave(folder, "file", data)
    gone = ObjectBlobs("s3://bucket/x", {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(AwayError):
        gone.has(artifact)
    with pytest.raises(AwayError):
        gone.put(artifact, folder, settled=True)
    there = ObjectBlobs(f"s3://bucket/{tmp_path.name}", {"AWS_ENDPOINT_URL": s3[0].url})
    s3[0].rule = first(1, "blobs", Status(503))  # one failure costs time only
    there.put(artifact, folder, settled=True)
    s3[0].rule = None
    s3[0].counts.clear()
    s3[0].rule = first(1, "blobs", Reset(after=100))
    assert b"".join(there.read(artifact.sha256, 0, size)) == data
    assert hashlib.sha256(data).hexdigest() == artifact.sha256


@pytest.mark.parametrize("url", ["http://x/y", "relative/folder", "ftp://x"])
def test_what_is_no_store_is_refused_in_words(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no store Leyden knows"):
        open_blobs(url, tmp_path)
