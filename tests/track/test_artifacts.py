"""Does a manifest tell every file, each once, and nothing that is torn or lies elsewhere?"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from pathlib import Path

import pytest

from leyden.track import artifacts
from leyden.track.artifacts import Artifact, Manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "artifacts"
    made.mkdir()
    return made


def told(manifest: Manifest) -> dict[str, str]:
    return {one.path: one.sha256 for one in manifest.artifacts}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_file_with_size_time_mode_and_hash(folder: Path) -> None:
    (folder / "plots/deep").mkdir(parents=True)
    (folder / "plots/deep/loss.png").write_bytes(b"png")
    (folder / "model.bin").write_bytes(bytes(3_000_000))
    (folder / "empty").touch(mode=0o755)
    manifest = artifacts.make(folder, 1)
    assert told(manifest) == {
        "empty": sha256(b""),
        "model.bin": sha256(bytes(3_000_000)),
        "plots/deep/loss.png": sha256(b"png"),
    }
    empty = manifest.artifacts[0]
    status = (folder / "empty").stat()
    assert (empty.size_bytes, empty.mode, empty.mtime_ns) == (0, 0o755, status.st_mtime_ns)
    assert manifest.refused == ()


def test_the_next_attempt_tells_what_is_new_or_changed_and_reads_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("same", "changed", "touched", "deleted"):
        (folder / name).write_text(name)
    first = artifacts.make(folder, 1)
    (folder / "changed").write_text("other")
    os.utime(folder / "touched", (1, 1))
    (folder / "deleted").unlink()
    (folder / "new").write_text("new")
    read: list[str] = []
    real = artifacts.take

    def take(root: Path, path: str, _deadline: float | None) -> Artifact:
        read.append(path)
        return real(root, path)

    monkeypatch.setattr(artifacts, "take", take)
    second = artifacts.make(folder, 2, [first])
    assert sorted(read) == sorted(told(second)) == ["changed", "new", "touched"]
    assert {path: number for path, (number, _) in artifacts.merged([first, second]).items()} == {
        **dict.fromkeys(["same", "deleted"], 1),
        **dict.fromkeys(["changed", "touched", "new"], 2),
    }


def test_links_out_of_the_folder_and_what_is_no_file_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("xyzzy")
    (tmp_path / "artifacts-not").mkdir()
    (tmp_path / "artifacts-not/near").write_text("xyzzy")
    (folder / "real").write_text("real")
    (folder / "sub").mkdir()
    for name, target in {
        "inward": "real",
        "absolute": str(tmp_path / "secret"),
        "up": "../secret",
        "near": "../artifacts-not/near",
        "nothing": "gone",
        "loop": "loop",
        "tofolder": "sub",
    }.items():
        (folder / name).symlink_to(target)
    (folder / "sub/outer").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"\xff.bin")).write_text("x")
    manifest = artifacts.make(folder, 1)
    assert told(manifest) == dict.fromkeys(["inward", "real"], sha256(b"real"))
    why = {one.path: one.why for one in manifest.refused}
    assert {why[name] for name in ("absolute", "up", "near", "sub/outer")} == {"a link out of the folder"}
    assert (why["pipe"], why["nothing"], why["tofolder"]) == ("no file", "a link to nothing", "a link to a folder")
    assert "loop" in why
    assert why["\\udcff.bin"] == "its name is not UTF-8"


def test_a_folder_that_is_a_link_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "artifacts").symlink_to("elsewhere")
    manifest = artifacts.make(tmp_path / "artifacts", 1)
    assert (manifest.artifacts, manifest.refused[0].why) == ((), "the folder itself is a link")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "", ".", "a//b", "a/", "a\0b", "./a"])
def test_paths_that_lead_out_are_no_files(folder: Path, path: str) -> None:
    (folder / "a").touch()
    with pytest.raises(OSError, match="not a path inside"):
        artifacts.inside(folder, path)


@pytest.mark.parametrize(("changes", "refused"), [(2, False), (1000, True)])
def test_a_file_that_changes_while_it_is_read_is_read_again_and_never_torn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: int, refused: bool
) -> None:
    file = folder / "growing"
    file.write_bytes(b"half")
    real, rounds = artifacts.digest, itertools.count()

    def digest(descriptor: int, size_bytes: int, _deadline: float | None) -> str:
        summed = real(descriptor, size_bytes)
        if next(rounds) < changes:
            with file.open("ab") as more:
                more.write(b"!")
        return summed

    monkeypatch.setattr(artifacts, "digest", digest)
    manifest = artifacts.make(folder, 1)
    assert told(manifest) == ({} if refused else {"growing": sha256(b"half!!")})
    assert [one.why for one in manifest.refused] == ["it was still being written"] * refused


def test_a_manifest_is_read_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    (folder / "naïve – 数据.txt").write_text("x")
    (folder / "out").symlink_to("/")
    attempt = tmp_path / "attempts/a12"
    attempt.mkdir(parents=True)
    assert artifacts.read(attempt) is None
    manifest = artifacts.make(folder, 12)
    artifacts.write(attempt, manifest)
    assert artifacts.read(attempt) == manifest
    assert artifacts.read_all(tmp_path) == [manifest]


def test_beyond_the_deadline_there_is_no_manifest(folder: Path) -> None:
    (folder / "file").write_text("x")
    with pytest.raises(TimeoutError):
        artifacts.make(folder, 1, deadline=time.monotonic() - 1)
