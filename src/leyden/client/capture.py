"""What does a job run from? From a copy of the working tree as it is on disk now, uncommitted changes included.

In a git checkout: everything git does not ignore, from the top of the checkout. Elsewhere: the current folder without
environments, caches and dot-folders. The same files on the same commit give the same tar.gz, so the server is sent each
tree once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from leyden.client.git import git, said
from leyden.client.heavy import IGNORE_FILE, check_size
from leyden.client.source import Asking, Source
from leyden.core.errors import CaptureError, NotFoundError
from leyden.core.origin import RESERVED

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_BYTES = 200_000_000
# Never part of a tree unless git tracks them: environments, caches, and the records of earlier runs.
SKIPPED = frozenset({".venv", "__pycache__", ".git", "node_modules", "leyden_runs"})
_MTIME = (
    315_532_800  # 1980-01-01, the earliest a zip file can hold: the same for every file, so that trees compare equal
)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What would be captured: regular files and links, as paths relative to `root`, sorted."""

    root: Path
    cwd: str  # the current folder, relative to root
    files: tuple[str, ...]
    size_bytes: int
    source: Source | None = None  # the commit below it, where there is one
    title: str  # how to speak of it


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A captured tree, compressed into a temporary file that stands at its beginning."""

    file: BinaryIO
    sha256: str
    size_bytes: int


def find_tree(folder: Path, *, leave_out: Path | None = None) -> Tree:
    """The tree around `folder`, without the folder `leave_out`; raises CaptureError where it cannot be captured."""
    folder = folder.resolve()
    root = _git_top(folder)
    in_git = root is not None and not _too_wide(root)
    root = root if root and in_git else folder
    if _too_wide(root):
        raise CaptureError(
            asked=f"a job runs from a copy of the current folder, {root}",
            found="that is a home folder or the whole disk",
            do="Change to the project's folder first, or say --in-place to run without a copy.",
        )
    spec = _ignored(root)
    if not in_git:
        return _tree(root, folder, _walk(root), spec, leave_out)
    with Asking(root) as asking:
        tree = _tree(root, folder, _git_files(root), spec, leave_out)
        source = asking.answer(tree.files, lambda name: bool(spec and spec.match_file(name)))
    return replace(tree, source=source)


def of_commit(root: Path, names: Iterable[str], source: Source) -> Tree:
    """The tree of a commit that was checked out into `root`, with these files; raises CaptureError."""
    title = f"{source.origin.remote} at {source.origin.commit[:7]}"
    return replace(_tree(root, root, names, _ignored(root), None, title=title), source=source)


def _tree(
    root: Path,
    folder: Path,
    names: Iterable[str],
    spec: GitIgnoreSpec | None,
    leave_out: Path | None,
    *,
    title: str = "",
) -> Tree:
    kept = sorted((name for name in set(names) if not (spec and spec.match_file(name))), key=os.fsencode)
    kept = [name for name in kept if not f"{name}/".startswith(RESERVED)]
    if leave_out and leave_out.is_relative_to(root):
        kept = [name for name in kept if not (root / name).is_relative_to(leave_out)]
    sizes = {name: size for name in kept if (size := _size(root / name)) is not None}
    check_size(title or str(root), sizes, limit_bytes=MAX_BYTES)
    for name in sizes:
        _check_link(root, name)
    cwd = folder.relative_to(root).as_posix()
    return Tree(root=root, cwd=cwd, files=tuple(sizes), size_bytes=sum(sizes.values()), title=title or str(root))


def relative(tree: Tree, name: str, *, use: str = "run") -> str:
    """The file relative to the current folder, after a check that the copy will hold it."""
    here = tree.root / tree.cwd
    path = Path(os.path.normpath(here / name))
    if not path.is_relative_to(tree.root):
        path = path.resolve()
    if not path.is_relative_to(tree.root):
        raise CaptureError(
            asked=f"{name} is to {use} from a copy of {tree.title}",
            found="it lies outside that folder",
            do=f"Change to {path.parent} first, or say --in-place to run without a copy.",
        )
    asked = f"{name} is to {use} from a copy of {tree.title}"
    if not os.path.lexists(path):
        raise NotFoundError(asked=asked, found="there is no such file", do="Check the path.")
    if path.relative_to(tree.root).as_posix() not in tree.files:
        raise CaptureError(
            asked=asked,
            found=f"it is ignored by .gitignore or {IGNORE_FILE}, so the copy would lack it",
            do="Take it out of the ignore file, or say --in-place to run without a copy.",
        )
    return os.path.relpath(path, here)


def pack(tree: Tree, notes: Mapping[str, bytes] | None = None) -> Archive:
    """The tree as tar.gz: same names, contents and mode bits on the same commit give the same bytes.

    First in it are its source and the `notes`, files under the reserved name.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115  the caller reads it
    with (
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar,
    ):
        for name, content in {**(tree.source.notes() if tree.source else {}), **(notes or {})}.items():
            _add_content(tar, tarfile.TarInfo(name), content)
        for name in tree.files:
            _add(tar, tree.root, name)
    size_bytes = file.tell()
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return Archive(file=file, sha256=sha256, size_bytes=size_bytes)


def _add(tar: tarfile.TarFile, root: Path, name: str) -> None:
    path = root / name
    entry = tarfile.TarInfo(name)
    try:
        if path.is_symlink():
            entry.type, entry.linkname, entry.mtime = tarfile.SYMTYPE, _link_target(root, path), _MTIME
            tar.addfile(entry)
            return
        content = path.read_bytes()
        entry.mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
    except FileNotFoundError:
        return  # deleted since it was listed, e.g. an editor's swap file
    except OSError as error:
        found = f"it cannot be read ({error.strerror})"
        raise _refusal(name, found, f"Make it readable, or list it in {IGNORE_FILE}.") from None
    _add_content(tar, entry, content)


def _add_content(tar: tarfile.TarFile, entry: tarfile.TarInfo, content: bytes) -> None:
    entry.size, entry.mtime = len(content), _MTIME
    tar.addfile(entry, io.BytesIO(content))


def _git_top(folder: Path) -> Path | None:
    """The top of the git checkout around `folder`; None outside of one, or without git."""
    try:
        done = git(folder, "rev-parse", "--show-toplevel")
    except FileNotFoundError:
        return None
    if done.returncode == 0:
        return Path(os.fsdecode(done.stdout.removesuffix(b"\n")))
    why = said(done)
    if "not a git repository" in why or "must be run in a work tree" in why:
        return None
    raise _refusal(str(folder), f"git says: {why}", "Mend that, then try again.")


def _git_files(top: Path, prefix: str = "") -> Iterator[str]:
    """Tracked and untracked files that git does not ignore; submodules and nested checkouts included."""
    skipped = (f"--exclude={name}" for name in sorted(SKIPPED))
    done = git(top / prefix, "ls-files", "-z", "-co", "--exclude-standard", *skipped)
    if done.returncode:
        raise _refusal(str(top / prefix), f"git says: {said(done)}", "Mend that, then try again.")
    for raw in done.stdout.split(b"\0"):
        name = prefix + os.fsdecode(raw.removesuffix(b"/"))
        if raw and (top / name).is_dir() and not (top / name).is_symlink():
            if _git_top(top / name) == (top / name).resolve():  # a submodule that was never checked out has no top
                yield from _git_files(top, f"{name}/")
        elif raw:
            yield name


def _walk(root: Path) -> Iterator[str]:
    for folder, below, files in os.walk(root):
        within = os.path.relpath(folder, root)
        below[:] = [one for one in below if one not in SKIPPED and not one.startswith(".")]
        links = [one for one in below if (Path(folder) / one).is_symlink()]
        for name in (*files, *links):
            yield name if within == "." else f"{within}/{name}"


def _ignored(root: Path) -> GitIgnoreSpec | None:
    file = root / IGNORE_FILE
    if not file.is_file():
        return None
    from pathspec import GitIgnoreSpec  # only trees with an ignore file pay for it

    return GitIgnoreSpec.from_lines(file.read_text().splitlines())


def _size(path: Path) -> int | None:
    """Bytes of a file or link; None for what is gone by now, and for sockets and pipes."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else None


def _check_link(root: Path, name: str) -> None:
    path = root / name
    if not path.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root):
        return
    raise _refusal(
        name,
        f"it is a link that leads out of the tree, to {path.readlink()}",
        f"List it in {IGNORE_FILE} and give the script the full path, or say --in-place to run without a copy.",
    )


def _link_target(root: Path, path: Path) -> str:
    """As it is where relative; an absolute target inside the tree becomes relative, or the copy would leave itself."""
    target = path.readlink()
    if not target.is_absolute():
        return str(target)
    inside = PurePosixPath(os.path.realpath(path)).relative_to(root)
    return os.path.relpath(root / inside, path.parent.resolve())


def _too_wide(folder: Path) -> bool:
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111  Path.home() raises where there is none
    return folder in {home, home.parent, Path(folder.anchor)}


def _refusal(name: str, found: str, do: str) -> CaptureError:
    return CaptureError(asked=f"{name} is to be part of the captured tree", found=found, do=do)
