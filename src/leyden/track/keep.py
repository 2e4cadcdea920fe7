"""How does a file or folder come under the run's artifacts/, whole or not at all?

It is copied beside the folder first and then renamed. A copy, as the original may be gone or changed a moment later; on
file systems that can, it shares the original's blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from leyden.core.errors import RecordError
from leyden.track.artifacts import FOLDER

DRAFTS: Final = ".drafts"


def keep(run_dir: Path, path: str | Path, name: str | None, *, link: bool) -> Path:
    """Bring the file or folder to artifacts/<name> and say where it is; what stood there is replaced.

    Raises RecordError for a source that cannot be read, or a name that leads out of the folder.
    """
    source = Path(path)
    name = source.resolve().name if name is None else str(name)
    target = _target(run_dir, name)
    if not source.exists():
        raise _cannot(source, "there is no such file", "Log it after it was written.")
    if target.resolve().is_relative_to(source.resolve()):
        raise _cannot(source, "the run's own record lies in it", "Log the files of it one by one.")
    draft = run_dir / DRAFTS / f"{os.getpid()}-{threading.get_native_id()}-{target.name}"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        _remove(draft)
        copy(source, draft, link=link)
        target.parent.mkdir(parents=True, exist_ok=True)
        _put(draft, target)
    except (OSError, shutil.Error) as error:
        _remove(draft)
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)[:200]
        raise _cannot(source, why.lower(), "Make room, or give a file that can be read.") from error
    finally:
        _remove_empty(draft.parent)
    return target


def _target(run_dir: Path, name: str) -> Path:
    parts = name.split("/")
    if "\0" in name or not all(parts) or {".", ".."} & {*parts}:
        found = "it is empty, or leads out of the run's folder"
        raise RecordError(
            asked=f"an artifact was to be called {name[:80]!a}", found=found, do="Choose a name such as models/best.pt."
        )
    return run_dir / FOLDER / name


def copy(source: Path, draft: Path, *, link: bool = False) -> None:
    """Bring the file or folder to `draft`, where nothing is yet. Raises OSError and shutil.Error."""
    if source.is_dir():
        shutil.copytree(source, draft, copy_function=_link if link else _copy_file)
    elif link:
        _link(source, draft)
    else:
        _copy_file(source, draft)


def _link(source: str | Path, draft: str | Path) -> None:
    try:
        os.link(Path(source).resolve(), draft)
    except OSError:  # of another file system, or one that knows no links
        _copy_file(source, draft)


def _copy_file(source: str | Path, draft: str | Path) -> None:
    with Path(source).open("rb") as read, Path(draft).open("wb") as written:
        if not _share(read.fileno(), written.fileno()):
            shutil.copyfileobj(read, written, 1 << 20)
    shutil.copystat(source, draft)


def _share(read: int, written: int) -> bool:
    """Let the kernel copy, which shares blocks where the file system can; False where it does not for these files."""
    if not hasattr(os, "copy_file_range"):
        return False
    try:
        copied = 0
        while count := os.copy_file_range(read, written, 1 << 30):
            copied += count
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.lseek(read, 0, os.SEEK_SET)
        os.ftruncate(written, 0)
        os.lseek(written, 0, os.SEEK_SET)
        return False
    return copied > 0 or os.fstat(read).st_size == 0


def _put(draft: Path, target: Path) -> None:
    if draft.is_dir() or target.is_dir():  # a rename replaces no folder that holds something
        old = draft.with_name(f"{draft.name}.old")
        _remove(old)
        if target.exists():
            target.rename(old)
        draft.rename(target)
        _remove(old)
    else:
        draft.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # another thread has a draft there
        return


def _cannot(source: Path, found: str, do: str) -> RecordError:
    return RecordError(asked=f"artifact {str(source)!r} was logged", found=found, do=do)
