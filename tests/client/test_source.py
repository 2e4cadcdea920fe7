"""Is the commit below a tree on record, and can what differs from it be read and applied?"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from leyden.client import source
from leyden.client.capture import find_tree, pack
from leyden.core.origin import ORIGIN, PATCH, Origin, read_origin
from tests.client.test_capture import git, write


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    folder = tmp_path / "project"
    write(folder, {"train.py": "old\n", "gone.py": "x\n", "sub/b.py": "b\n", ".gitignore": "*.log\n"})
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def commit_of(folder: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def packed(folder: Path, into: Path) -> Path:
    with pack(find_tree(folder)).file as file:
        into.write_bytes(file.read())
    return into


def test_a_clean_checkout_names_its_commit_branch_and_remote(project: Path, tmp_path: Path) -> None:
    git(project, "remote", "add", "origin", "https://ada:s3cret@example.org/lab/model.git")
    write(project, {"x.log": "ignored"})
    origin = read_origin(packed(project / "sub", tmp_path / "a.tar.gz"))
    assert origin == Origin(commit=commit_of(project), branch="main", remote="https://example.org/lab/model.git")
    assert not origin.dirty
    assert b"s3cret" not in (tmp_path / "a.tar.gz").read_bytes()
    git(project, "checkout", "-q", "--detach")
    detached = read_origin(packed(project, tmp_path / "b.tar.gz"))
    assert detached is not None
    assert detached.branch == ""


def test_commit_and_patch_give_the_tree_that_was_captured(project: Path, tmp_path: Path) -> None:
    write(project, {"train.py": "new\n", "fresh.py": "a\nb", "empty.py": "", "with space.py": "ä\n", "run.sh": "#!\n"})
    (project / "run.sh").chmod(0o755)
    (project / "gone.py").unlink()
    write(project, {"staged.py": "s\n"})
    git(project, "add", "staged.py")
    git(project, "mv", "sub/b.py", "sub/moved.py")
    archive = packed(project, tmp_path / "a.tar.gz")
    origin = read_origin(archive)
    assert origin is not None
    names = (
        "empty.py",
        "fresh.py",
        "gone.py",
        "run.sh",
        "staged.py",
        "sub/b.py",
        "sub/moved.py",
        "train.py",
        "with space.py",
    )
    assert origin.changed == names
    assert origin.describe() == f"commit {origin.commit[:7]} (main) +9 files"
    with tarfile.open(archive) as tar:
        assert tar.getnames()[:2] == [ORIGIN, PATCH]
        tar.extractall(tmp_path / "copy", filter="data")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project), str(clone))
    git(clone, "apply", str(tmp_path / "copy" / PATCH))
    for name in names:
        copy = tmp_path / "copy" / name
        assert (clone / name).exists() == copy.exists()
        if copy.exists():
            assert (clone / name).read_bytes() == copy.read_bytes()
            assert os.access(clone / name, os.X_OK) == os.access(copy, os.X_OK)


def test_what_the_ignore_file_keeps_out_does_not_come_in_by_the_patch(project: Path, tmp_path: Path) -> None:
    write(project, {"secret.py": "old = 'hunter1'\n", "dead.secret": "hunter2\n"})
    git(project, "add", ".")
    git(project, "commit", "-qm", "two")
    write(
        project, {"secret.py": "new = 'hunter3'\n", ".leydenignore": "secret.py\n*.secret\n", "new.secret": "hunter4"}
    )
    (project / "dead.secret").unlink()
    tree = find_tree(project)
    assert tree.source is not None
    assert tree.source.origin.changed == (".leydenignore",)
    assert b"hunter" not in tree.source.patch


def test_a_long_patch_is_left_out_and_its_files_are_listed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_PATCH_BYTES", 2000)
    write(project, {"train.py": "line\n" * 1000, "other.py": "o\n"})
    tracked = find_tree(project).source
    assert tracked is not None
    assert (tracked.patch, tracked.origin.patch) == (b"", False)
    assert tracked.origin.changed == ("other.py", "train.py")
    write(project, {"train.py": "new\n", **{f"new{number}.py": "line\n" * 100 for number in range(6)}})
    untracked = find_tree(project).source
    assert untracked is not None
    assert untracked.patch == b""
    assert len(untracked.origin.changed) == 8


def test_binary_files_are_named_and_odd_names_listed(project: Path) -> None:
    write(project, {'odd"\nname.py': "x\n"})
    (project / "weights.bin").write_bytes(b"\0" * 10)
    (project / "train.py").write_bytes(b"\0\1")
    found = find_tree(project).source
    assert found is not None
    assert found.origin.changed == ('odd"\nname.py', "train.py", "weights.bin")
    assert b"Binary files a/train.py and b/train.py differ" in found.patch
    assert b"Binary files /dev/null and b/weights.bin differ" in found.patch


def test_without_a_commit_there_is_no_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    write(tmp_path / "fresh", {"a.py": ""})
    git(tmp_path / "fresh", "init", "-q")
    assert find_tree(tmp_path / "fresh").source is None
    write(tmp_path / "plain", {"a.py": ""})
    assert read_origin(packed(tmp_path / "plain", tmp_path / "a.tar.gz")) is None
    assert read_origin(tmp_path / "nowhere.tar.gz") is None
