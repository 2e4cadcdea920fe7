"""Does the captured tree hold what the user sees on disk, and nothing else?"""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from leyden.client.capture import Tree, find_tree, pack, relative
from leyden.client.heavy import IGNORE_FILE
from leyden.core.errors import CaptureError, NotFoundError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "somebody" / "home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def git(folder: Path, *args: str) -> None:
    names = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *names, *args], cwd=folder, check=True, capture_output=True)


def unpacked(tree: Tree, into: Path) -> Path:
    with pack(tree).file as file, tarfile.open(fileobj=file, mode="r:gz") as tar:
        tar.extractall(into, filter="data")
    return into


def test_git_takes_what_is_on_disk_and_not_ignored(project: Path, tmp_path: Path) -> None:
    write(project, {"a.py": "old", "gone.py": "x", "sub/b.py": "b", ".gitignore": "*.log\n"})
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    write(project, {"a.py": "edited", "new.py": "n", "x.log": "big", "leyden_runs/r1/last.ckpt": "w", ".venv/pip": "p"})
    (project / "gone.py").unlink()
    tree = find_tree(project / "sub")
    assert (tree.root, tree.cwd) == (project, "sub")
    assert tree.files == (".gitignore", "a.py", "new.py", "sub/b.py")
    copy = unpacked(tree, tmp_path / "copy")
    assert (copy / "a.py").read_text() == "edited"


def test_names_with_spaces_unicode_and_newlines(project: Path, tmp_path: Path) -> None:
    names = {"with space.py", "wörter/naïve.py", "two\nlines.txt", os.fsdecode(b"latin-\xe9.txt"), "-dash.py", "'q'.py"}
    write(project, dict.fromkeys(names, "x"))
    git(project, "init", "-q")
    tree = find_tree(project)
    assert set(tree.files) == names
    copy = unpacked(tree, tmp_path / "copy")
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == names


def test_outside_git_environments_caches_and_dot_folders_stay_behind(project: Path) -> None:
    skipped = (".venv/x", "__pycache__/x", "node_modules/x", "leyden_runs/r/x", ".cache/x", "a/__pycache__/x")
    write(project, {**dict.fromkeys(skipped, "x"), "train.py": "t", "a/b.py": "b", ".env": "kept: a file"})
    assert find_tree(project).files == (".env", "a/b.py", "train.py")
    assert find_tree(project).cwd == "."


def test_ignore_file_holds_for_tracked_files_too(project: Path) -> None:
    write(
        project, {"train.py": "t", "data/big.bin": "x", "data/keep.txt": "k", ".leydenignore": "data/*\n!data/keep.txt"}
    )
    assert find_tree(project).files == (".leydenignore", "data/keep.txt", "train.py")
    git(project, "init", "-q")
    git(project, "add", ".")
    assert find_tree(project).files == (".leydenignore", "data/keep.txt", "train.py")


def test_the_platforms_own_home_is_never_captured(project: Path) -> None:
    write(project, {"train.py": "", "state/server.json": "a token", "state2/kept.txt": ""})
    git(project, "init", "-q")
    assert find_tree(project, leave_out=project / "state").files == ("state2/kept.txt", "train.py")


def test_submodules_and_nested_checkouts_are_part_of_the_tree(project: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    write(library, {"lib.py": "l"})
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-qm", "one")
    git(project, "init", "-q")
    git(project, "submodule", "add", "-q", str(library), "vendor/lib")
    write(project, {"nested/n.py": "n"})
    git(project / "nested", "init", "-q")
    git(project / "nested", "add", ".")
    assert {"vendor/lib/lib.py", "nested/n.py"} <= set(find_tree(project).files)


def test_same_content_gives_the_same_hash_whatever_the_dates(project: Path, tmp_path: Path) -> None:
    write(project, {"a.py": "a", "b/c.py": "c"})
    (project / "a.py").chmod(0o755)
    first = pack(find_tree(project))
    os.utime(project / "a.py", (0, 0))
    again = pack(find_tree(project))
    other = tmp_path / "elsewhere"
    write(other, {"b/c.py": "c", "a.py": "a"})
    (other / "a.py").chmod(0o700)
    moved = pack(find_tree(other))
    write(other, {"a.py": "A"})
    edited = pack(find_tree(other))
    assert first.sha256 == again.sha256 == moved.sha256 != edited.sha256
    assert first.size_bytes == len(first.file.read())
    for archive in (first, again, moved, edited):
        archive.file.close()


def test_links_inside_stay_links_and_absolute_ones_become_relative(project: Path, tmp_path: Path) -> None:
    write(project, {"data/a.txt": "a", "sub/x.py": ""})
    (project / "sub" / "near").symlink_to("../data/a.txt")
    (project / "sub" / "full").symlink_to(project / "data")
    copy = unpacked(find_tree(project), tmp_path / "copy")
    assert (copy / "sub" / "near").readlink() == Path("../data/a.txt")
    assert (copy / "sub" / "full" / "a.txt").resolve() == (copy / "data" / "a.txt").resolve()


@pytest.mark.parametrize("in_git", [False, True])
def test_a_link_that_leads_out_is_refused_unless_ignored(project: Path, in_git: bool) -> None:
    write(project, {"train.py": ""})
    (project / "data").symlink_to("/usr")
    if in_git:
        git(project, "init", "-q")
    with pytest.raises(CaptureError, match=r"data .*leads out of the tree, to /usr.*\.leydenignore"):
        find_tree(project)
    write(project, {".leydenignore": "/data\n"})
    assert find_tree(project).files == (".leydenignore", "train.py")


def sparse(path: Path, size_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)  # takes no disk


def test_too_large_names_the_ten_largest_and_what_to_write_into_the_ignore_file(project: Path) -> None:
    write(project, {"train.py": ""})
    for number in range(12):
        sparse(project / f"data/raw/file{number}.bin", 20_000_000 + number)
    sparse(project / "last.ckpt", 30_000_000)
    with pytest.raises(CaptureError, match=r"holds 270 MB, more than 200 MB") as raised:
        find_tree(project)
    found, do = raised.value.found, raised.value.do
    assert "last.ckpt (30 MB), data/raw/file11.bin (20 MB)" in found
    assert "file3.bin" in found
    assert "file2.bin" not in found
    assert "data/ (240 MB)" in found
    assert "data/raw/ (240 MB)" in found
    assert f"{IGNORE_FILE} at its top, a line each as in .gitignore, e.g. /data/raw/, or" in do
    write(project, {IGNORE_FILE: "/data/raw/\n"})
    assert find_tree(project).files == (IGNORE_FILE, "last.ckpt", "train.py")


def test_a_name_kept_for_leyden_is_no_part_of_the_tree(project: Path) -> None:
    write(project, {"train.py": "", ".leyden/origin.json": "a forgery"})
    git(project, "init", "-q")
    assert find_tree(project).files == ("train.py",)


def test_a_home_folder_is_refused_even_when_git_holds_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    with pytest.raises(CaptureError, match="home folder"):
        find_tree(project)
    git(project, "init", "-q")
    with pytest.raises(CaptureError, match="home folder"):
        find_tree(project)
    write(project, {"work/train.py": "", "private.txt": ""})
    assert find_tree(project / "work").files == ("train.py",)
    with pytest.raises(CaptureError, match="whole disk"):
        find_tree(Path("/"))


def test_sockets_and_pipes_are_left_out(project: Path) -> None:
    write(project, {"a.py": ""})
    os.mkfifo(project / "pipe")
    assert find_tree(project).files == ("a.py",)


def test_a_script_is_found_from_the_current_folder(project: Path, tmp_path: Path) -> None:
    write(project, {"train.py": "", "sub/x.py": "", "secret.py": "", ".leydenignore": "secret.py"})
    git(project, "init", "-q")
    tree = find_tree(project / "sub")
    assert relative(tree, "x.py") == "x.py"
    assert relative(tree, "../train.py") == "../train.py"
    assert relative(tree, str(project / "train.py")) == "../train.py"
    with pytest.raises(CaptureError, match="lies outside"):
        relative(tree, str(tmp_path / "other.py"))
    with pytest.raises(CaptureError, match="ignored by"):
        relative(tree, "../secret.py")
    with pytest.raises(NotFoundError, match="no such file"):
        relative(tree, "nowhere.py")
