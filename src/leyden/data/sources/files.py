"""Which files make up a data set that has no index of its own, and what stands in a few bytes of them?"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast, final

from leyden.data.errors import DataError
from leyden.data.tiers.here import local_folder

if TYPE_CHECKING:
    from leyden.data.tiers.bucket import Bucket  # workers import this file, but not obstore
    from leyden.data.tiers.remote import Root

TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
TABLES: Final = (".parquet", ".arrow", ".feather")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_PARALLEL: Final = 32  # requests under way: 20 ms each make 1,600 a second
WINDOW_BYTES: Final = 1 << 20  # takes about as long to fetch (10 ms) as it takes to ask for it
LOCAL_WINDOW_BYTES: Final = 1 << 16  # fewer calls, each of which lets another thread run
Given = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
T = TypeVar("T")
S = TypeVar("S")


class File(NamedTuple):
    """A file below a root."""

    name: str
    size_bytes: int
    version: str  # of its content, as far as the store tells: ETag, or the time of the last change


def expand(pattern: str) -> list[str]:
    """All names that braces stand for, as in a shell; numbers keep the first one's width.

    >>> expand("{train,val}-{008..010}.tar")
    ['train-008.tar', 'train-009.tar', 'train-010.tar', 'val-008.tar', 'val-009.tar', 'val-010.tar']
    """
    parts = [[part] if at % 2 == 0 else _choices(part) for at, part in enumerate(_BRACES.split(pattern))]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _choices(inside: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = found.groups()
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        step = 1 if int(first) <= int(last) else -1
        return [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
    return inside.split(",")


def find(given: Given, endings: tuple[str, ...], options: Mapping[str, str] | None) -> tuple[Root, list[File]]:
    """The root and the files that are meant by a folder, a file, a pattern ({…}, or * on this machine), or several.

    Raises DataError if there are none, or if they have no common root.
    """
    from leyden.data.tiers.remote import open_root

    several = [given] if isinstance(given, str | os.PathLike) else given
    paths = [path for one in several for path in expand(os.fspath(one))]
    if local_folder(paths[0] if paths else "") is not None:
        paths = [name for path in paths for name in _local(str(local_folder(path)))]
    if len(paths) == 1 and not paths[0].endswith(endings):
        root = open_root(paths[0].rstrip("/"), options)
        return root, _folder(root, endings)
    root = open_root(_root(paths), options)
    names = [path[len(root.url) + 1 :] for path in paths]
    return root, each(lambda name: File(name, *root.stat(name)), names)


def _local(path: str) -> list[str]:
    absolute = os.path.abspath(path)  # noqa: PTH100  not resolved: a link to a shard is as good as the shard
    return sorted(glob.glob(absolute)) if glob.has_magic(absolute) else [absolute]  # noqa: PTH207


def _root(paths: Sequence[str]) -> str:
    """The folder that all lie in."""
    parts = [path.split("/")[:-1] for path in paths]  # not os.path.commonpath, which makes one slash of two
    root = "/".join(
        pair[0] for pair in itertools.takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False))
    )
    if not paths or not root or root.endswith((":/", ":")):
        raise DataError(
            asked=f"{len(paths)} files were given as one data set",
            found="they lie in no common folder" if paths else "there is no file of that name",
            do="Give the files of one folder or bucket; a Mix draws from several data sets.",
        )
    return root


def _folder(root: Root, endings: tuple[str, ...]) -> list[File]:
    listed = root.stats()
    files = [File(name, *listed[name]) for name in sorted(listed) if name.endswith(endings)]
    if not files:
        raise DataError(
            asked=f"the files of {root.url} were asked for",
            found=f"none there ends in {' or '.join(endings)}",
            do="Give the folder that holds them, a list of files, or a pattern such as shard-{000..099}.tar.",
        )
    return files


def each(work: Callable[[T], S], over: Sequence[T]) -> list[S]:
    """`work` for each, in threads, in order; stops at the first exception."""
    if len(over) < 2:
        return [work(one) for one in over]
    pool = ThreadPoolExecutor(min(_PARALLEL, len(over)), thread_name_prefix="leyden-files")
    try:
        return list(pool.map(work, over))
    finally:
        pool.shutdown(cancel_futures=True)


def window(root: Root, file: File, ahead_bytes: int) -> Window:
    """Reads a file of an object store; all of it at once if the store gives no ranges."""
    fetcher = cast("Bucket", root).fetcher

    def ahead() -> int:
        return ahead_bytes if fetcher.ranged else file.size_bytes

    return Window(lambda start, stop: root.get_range(file.name, start, stop), file.size_bytes, ahead)


@final
class Window:
    """Reads (offset, length) of a file, a window at a time; what lies between two windows is never fetched."""

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int, ahead_bytes: Callable[[], int]) -> None:
        self._fetch, self._size, self._ahead = fetch, size_bytes, ahead_bytes
        self._start, self._held = 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """As many of these bytes as there are."""
        stop = min(offset + length, self._size)
        if not self._start <= offset <= stop <= self._start + len(self._held):
            ahead = self._ahead()
            self._start, self._held = (offset if ahead < self._size else 0), b""
            end = min(max(stop, self._start + ahead), self._size)
            self._held = self._fetch(self._start, end) if end > self._start else b""
        return self._held[offset - self._start : max(stop - self._start, 0)]
