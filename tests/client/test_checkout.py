"""Does `--git` run what the repository holds, at the commit named, and say what git says?"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from leyden.client.checkout import Checkout, checked_out
from leyden.core.address import parse_git
from leyden.core.errors import CaptureError, NotFoundError, SpecError
from leyden.core.home import Home
from leyden.core.job import Job
from tests.client.test_capture import git, write


class Lab:
    """A bare repository, somebody who pushes to it, and a home that takes from it."""

    def __init__(self, root: Path) -> None:
        self.home, self.url, self.work = Home(root / "home"), root / "model.git", root / "work"
        self.said: list[str] = []
        git(root, "init", "-q", "--bare", "-b", "main", str(self.url))
        write(self.work, {"train.py": "one\n", ".config/x.toml": "x", "pkg/net.py": "n"})
        git(self.work, "init", "-q", "-b", "main")
        git(self.work, "remote", "add", "origin", str(self.url))
        self.first = self.push("one")

    def push(self, message: str, branch: str = "main") -> str:
        git(self.work, "add", ".")
        git(self.work, "commit", "-qm", message)
        git(self.work, "push", "-q", "origin", f"HEAD:{branch}")
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.work, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def take(self, ref: str = "", url: str = "") -> tuple[Checkout, str]:
        """The checkout, and what train.py was in it."""
        address = parse_git((url or str(self.url)) + (f"@{ref}" if ref else ""))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GIT_DIR", "/nowhere")  # as within a hook
            with checked_out(self.home, address, folder=self.work.parent, say=self.said.append) as found:
                return found, (found.tree.root / "train.py").read_text()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    return Lab(tmp_path)


def test_a_branch_tag_and_commit_each_give_their_files(lab: Lab) -> None:
    git(lab.work, "tag", "-a", "v1", "-m", "first")
    git(lab.work, "push", "-q", "origin", "v1")
    write(lab.work, {"train.py": "two\n"})
    second = lab.push("two")
    git(lab.work, "checkout", "-qb", "feature/a")
    write(lab.work, {"train.py": "three\n"})
    third = lab.push("three", "feature/a")
    for ref, commit, branch, text in (
        ("", second, "main", "two\n"),
        ("main", second, "main", "two\n"),
        ("v1", lab.first, "", "one\n"),
        ("feature/a", third, "feature/a", "three\n"),
        (lab.first, lab.first, "", "one\n"),
        (third[:8], third, "", "three\n"),
    ):
        found, content = lab.take(ref)
        assert (found.address.ref, content) == (commit, text), ref
        assert found.tree.source is not None
        origin = found.tree.source.origin
        assert (origin.commit, origin.branch, origin.remote, origin.dirty) == (commit, branch, str(lab.url), False)
        assert found.tree.files == (".config/x.toml", "pkg/net.py", "train.py")
        assert found.tree.cwd == "."
        assert not found.tree.root.exists()
    assert lab.said == [f"fetching {lab.url}"]  # once for all of them


def test_a_branch_that_moved_is_fetched_and_a_commit_known_needs_no_server(lab: Lab) -> None:
    lab.take("main")
    write(lab.work, {"train.py": "two\n"})
    second = lab.push("two")
    assert lab.take("main")[1] == "two\n"
    lab.url.rename(lab.url.with_name("away.git"))
    assert lab.take(second)[1] == "two\n"
    assert len(lab.said) == 2


def test_file_urls_and_relative_folders(lab: Lab) -> None:
    assert lab.take(url=f"file://{lab.url}")[1] == "one\n"
    found, _ = lab.take(url="work/../model.git")
    assert found.address.without_path() == f"{lab.url}@{lab.first}"
    assert lab.take(url=str(lab.work))[1] == "one\n"  # no bare one either


def test_errors_name_what_git_said(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nowhere.git.*git says: fatal: .*nowhere.git.* does not"):
        lab.take(url=str(tmp_path / "nowhere.git"))
    with pytest.raises(NotFoundError, match=r"'mainn' of .*no such branch, tag or commit.*did you mean 'main'"):
        lab.take("mainn")
    with pytest.raises(NotFoundError, match="no such branch, tag or commit"):
        lab.take("deadbeef")
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    with pytest.raises(CaptureError, match="repository is empty"):
        lab.take(url=str(tmp_path / "empty.git"))
    with pytest.raises(CaptureError) as raised:
        lab.take(url="http://ada:s3cret@127.0.0.1:9/model.git")
    assert "s3cret" not in str(raised.value)
    with pytest.raises(SpecError, match="no address"):
        parse_git("--upload-pack=touch")


def test_a_job_takes_its_script_from_the_address() -> None:
    job = Job.model_validate({"git": "https://example.org/a/b@main:src/train.py", "args": ["--lr", "1"]})
    assert (job.git, job.script, job.title) == ("https://example.org/a/b@main", "src/train.py", "train")
