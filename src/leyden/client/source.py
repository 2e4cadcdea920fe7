"""Which commit does a working tree stand on, and what differs from it?

The patch is for people, who read in `leyden diff` and `git apply` what was not committed; the copy of the tree itself
is what runs. So it may be left out where it would be long.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leyden.client.git import local
from leyden.core.address import without_credentials
from leyden.core.origin import ORIGIN, PATCH, Origin, to_bytes

MAX_PATCH_BYTES = 1_000_000
_MAX_FILES = 500  # in one patch: their names stand on git's command line


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a tree comes from, with the patch against its commit."""

    origin: Origin
    patch: bytes = b""

    def notes(self) -> dict[str, bytes]:
        """What goes into the archive, by reserved name; the origin first."""
        return {ORIGIN: to_bytes(self.origin)} | ({PATCH: self.patch} if self.patch else {})


@dataclass(frozen=True, kw_only=True)
class _Status:
    """What `git status` says."""

    commit: str
    branch: str
    changed: Sequence[str]  # tracked files
    untracked: Sequence[str]


class Asking:
    """Questions put to git about a checkout, which it answers while the tree is being listed: 5 ms saved a submit."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._status = _start(top, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all")
        self._remote = _start(top, "config", "--get", "remote.origin.url")

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in (self._status, self._remote):
            process.kill()
            process.__exit__(None, None, None)

    def answer(self, files: Iterable[str], ignored: Callable[[str], bool]) -> Source | None:
        """The source of these files; None before the first commit, or where git cannot say."""
        text = self._status.communicate()[0]
        url = os.fsdecode(self._remote.communicate()[0]).strip()
        status = _status(text) if self._status.returncode == 0 else None
        if status is None:
            return None
        kept = set(files)
        # A file that .leydenignore keeps out must not come in by the patch, a deleted one neither.
        gone = {name for name in status.changed if not ignored(name) and not os.path.lexists(self._top / name)}
        changed = [name for name in status.changed if name in kept or name in gone]
        untracked = [name for name in status.untracked if name in kept]
        patch = _patch(self._top, changed, untracked)
        origin = Origin(
            commit=status.commit,
            branch=status.branch,
            remote=without_credentials(url),
            changed=tuple(sorted({*changed, *untracked}, key=os.fsencode)),
            patch=bool(patch),
        )
        return Source(origin=origin, patch=patch)


def _start(top: Path, *args: str) -> subprocess.Popen[bytes]:
    # Without locks: a submit must never be what makes the user's own git command fail.
    return subprocess.Popen(
        ["git", "--no-optional-locks", *args],
        cwd=top, env=local(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _status(text: bytes) -> _Status | None:
    """The answer in git's porcelain format v2 (git help status); None before the first commit."""
    commit, branch, changed, untracked = "", "", [], []
    parts = iter(os.fsdecode(one) for one in text.split(b"\0"))
    for part in parts:
        match part[:2]:
            case "# ":
                key, _, value = part[2:].partition(" ")
                commit = value if key == "branch.oid" else commit
                branch = value if key == "branch.head" else branch
            case "1 ":
                changed.append(part.split(" ", 8)[8])
            case "2 ":  # renamed: the name before follows as a part of its own
                changed += [part.split(" ", 9)[9], next(parts)]
            case "u ":
                changed.append(part.split(" ", 10)[10])
            case "? ":
                untracked.append(part[2:])
    if not commit or commit == "(initial)":
        return None
    branch = "" if branch == "(detached)" else branch
    return _Status(commit=commit, branch=branch, changed=changed, untracked=untracked)


def _patch(top: Path, changed: Sequence[str], untracked: Sequence[str]) -> bytes:
    """The difference as text that `git apply` takes; nothing where it is longer than a person would read."""
    if len(changed) + len(untracked) > _MAX_FILES:
        return b""
    parts, size = [], 0
    if changed:
        parts.append(_tracked(top, changed))
        size = len(parts[0])
    for name in untracked:
        if size > MAX_PATCH_BYTES:
            break
        parts.append(_new_file(top, name))
        size += len(parts[-1])
    return b"" if size > MAX_PATCH_BYTES else b"".join(parts)


def _tracked(top: Path, names: Sequence[str]) -> bytes:
    options = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
    process = _start(top, "--literal-pathspecs", "diff", *options, "HEAD", "--", *names)
    assert process.stdout is not None
    with process:
        text = process.stdout.read(MAX_PATCH_BYTES + 1)
        process.kill()  # what is longer is not wanted; one that has ended does not mind
    return text


def _new_file(top: Path, name: str) -> bytes:
    """A file that git does not know, as `git diff` would show it once it did."""
    path, quoted = top / name, os.fsencode(name)
    plain = name.isprintable() and not {'"', "\\"} & set(name)  # git has its own way of quoting others
    if not plain or path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_PATCH_BYTES:
        return b""
    content = path.read_bytes()
    mode = b"100755" if os.access(path, os.X_OK) else b"100644"
    head = b"diff --git a/%b b/%b\nnew file mode %b\n" % (quoted, quoted, mode)
    if b"\0" in content[:8000]:  # git's own rule for what is binary
        return head + b"Binary files /dev/null and b/%b differ\n" % quoted
    if not content:
        return head
    body = content.split(b"\n")
    whole = body[-1] == b""
    body = body[:-1] if whole else body
    added = b"".join(b"+%b\n" % line for line in body) + (b"" if whole else b"\\ No newline at end of file\n")
    return head + b"--- /dev/null\n+++ b/%b\n@@ -0,0 +1,%d @@\n%b" % (quoted, len(body), added)
