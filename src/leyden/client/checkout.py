"""How does the code of `--git URL[@ref][:path/train.py]` get here: which commit, and which files?

The ref is resolved when the job is submitted, so that a branch that moves on changes no job. Repositories are kept as
bare mirrors under the home; one submit at a time works on a mirror.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from leyden.client import capture
from leyden.client.git import git, lines, remote, said
from leyden.client.source import Source
from leyden.core.address import GitAddress
from leyden.core.errors import CaptureError, NotFoundError, nearest
from leyden.core.home import Home
from leyden.core.origin import Origin

_COMMIT = re.compile(r"[0-9a-f]{4,40}")


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A commit on disk, and how to name it again."""

    tree: capture.Tree
    address: GitAddress  # with the commit as its ref


@dataclass(frozen=True, kw_only=True)
class _Refs:
    """What a repository offers."""

    head: str = ""  # the branch that HEAD names
    commits: dict[str, str] = field(default_factory=dict)  # full name of a ref → commit


@contextlib.contextmanager
def checked_out(home: Home, address: GitAddress, *, folder: Path, say: Callable[[str], None]) -> Iterator[Checkout]:
    """The commit in a folder that goes away again; a local repository's path is relative to `folder`.

    Raises CaptureError and NotFoundError with git's own words.
    """
    if address.local:
        address = replace(address, url=str((folder / Path(address.url).expanduser()).resolve()))
    home.git.mkdir(parents=True, exist_ok=True, mode=0o700)
    mirror = home.git / f"{hashlib.sha256(address.url.encode()).hexdigest()[:16]}.git"
    with (
        mirror.with_suffix(".lock").open("w") as lock,
        tempfile.TemporaryDirectory(dir=home.git, prefix=".checkout-") as name,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        root, index = Path(name) / "tree", Path(name) / "index"
        root.mkdir()
        commit, branch = _resolve(mirror, address, say)
        files = _write_files(mirror, address, commit, root, index)
        if ".gitmodules" in files:
            say("submodules are not fetched: their folders are empty")
        origin = Origin(commit=commit, branch=branch, remote=address.shown)
        tree = capture.of_commit(root, files, Source(origin=origin))
        yield Checkout(tree=tree, address=replace(address, url=address.shown, ref=commit))


def _resolve(mirror: Path, address: GitAddress, say: Callable[[str], None]) -> tuple[str, str]:
    """The commit, which lies in the mirror from then on, and its branch if a branch was named."""
    if not (mirror / "HEAD").exists():
        _checked(address, mirror.parent, "init", "--quiet", "--bare", str(mirror))
    if re.fullmatch(r"[0-9a-f]{40}", address.ref) and _has(mirror, address.ref):
        return address.ref, ""
    refs = _refs(address, mirror)
    name = _named(address, refs)
    commit = refs.commits.get(f"{name}^{{}}") or refs.commits.get(name) or _commit(mirror, address.ref)
    if not commit or not _has(mirror, commit):
        say(f"fetching {address.shown}")
        specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        _checked(address, mirror, "fetch", "--quiet", "--prune", "--force", "--", address.url, *specs)
    if not (commit := commit or _commit(mirror, address.ref)):
        raise _unknown(address, refs)
    return commit, name.removeprefix("refs/heads/") if name.startswith("refs/heads/") else ""


def _refs(address: GitAddress, mirror: Path) -> _Refs:
    patterns = ("HEAD", "refs/heads/*", "refs/tags/*")
    done = _checked(address, mirror, "ls-remote", "--symref", "--", address.url, *patterns)
    head, commits = "", {}
    for line in lines(done, ends=b"\n"):
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            head = value.removeprefix("ref: ")
        else:
            commits[name] = value
    if not commits:
        raise CaptureError(
            asked=f"the code is to come from {address.shown}", found="that repository is empty", do="Push a commit."
        )
    return _Refs(head=head, commits=commits)


def _named(address: GitAddress, refs: _Refs) -> str:
    """The full name of the ref; "" where it may be a commit. A tag goes before a branch of its name, as git has it."""
    if not address.ref:
        return refs.head if refs.head in refs.commits else "HEAD"
    for name in (address.ref, f"refs/tags/{address.ref}", f"refs/heads/{address.ref}"):
        if name in refs.commits:
            return name
    if _COMMIT.fullmatch(address.ref):
        return ""
    raise _unknown(address, refs)


def _unknown(address: GitAddress, refs: _Refs) -> NotFoundError:
    known = [name.split("/", 2)[2] for name in refs.commits if name.startswith("refs/") and not name.endswith("^{}")]
    advice = nearest(address.ref, sorted(known)[:20])
    return NotFoundError(
        asked=f"{address.ref!r} of {address.shown} is to run",
        found="it has no such branch, tag or commit",
        do=f"Check it: {advice}",
    )


def _write_files(mirror: Path, address: GitAddress, commit: str, root: Path, index: Path) -> list[str]:
    """Put the commit's files below `root`; their names."""
    environ = remote() | {"GIT_INDEX_FILE": str(index)}
    there = (f"--git-dir={mirror}", f"--work-tree={root}")
    _checked(address, root, *there, "read-tree", commit, environ=environ)
    _checked(address, root, *there, "checkout-index", "--all", "--force", environ=environ)
    done = _checked(address, root, *there, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    return list(lines(done))


def _commit(mirror: Path, ref: str) -> str:
    """The commit that the beginning of its hash names, "" where the mirror has none."""
    found = _git(mirror, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    return "" if found.returncode else lines(found, ends=b"\n")[0]


def _has(mirror: Path, commit: str) -> bool:
    return _git(mirror, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def _git(folder: Path, *args: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return git(folder, *args, environ=environ or remote())
    except FileNotFoundError:
        raise CaptureError(
            asked="the code is to come from a git repository", found="git is not installed here", do="Install git."
        ) from None


def _checked(
    address: GitAddress, folder: Path, *args: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    done = _git(folder, *args, environ=environ)
    if done.returncode == 0:
        return done
    raise CaptureError(
        asked=f"the code is to come from {address.shown}",
        found=f"git says: {said(done).replace(address.url, address.shown)}",
        do=f"Check the address, and that you may read it: `git ls-remote {address.shown}`.",
    )
