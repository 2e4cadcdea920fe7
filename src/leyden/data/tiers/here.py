"""What if the shards lie on this machine already? They are read where they are; nothing is copied, nothing waits."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import final
from urllib.parse import unquote, urlsplit

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.sources.base import Fetch, Ints, Source
from leyden.data.tiers.base import Local, Tiers


def local_folder(root: str) -> Path | None:
    """The folder a root stands for, if it is one of this machine (a path or file://…); None for other URLs.

    >>> local_folder("/data/streets"), local_folder("file:///data/a%20b"), local_folder("s3://bucket/streets")
    (PosixPath('/data/streets'), PosixPath('/data/a b'), None)
    """
    if "://" not in root:
        return Path(root)
    parts = urlsplit(root)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def check_name(root: str, name: str) -> str:
    """The name, if it stays inside its root; CorruptError for absolute paths and '..'."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise CorruptError(
            asked=f"shards of {root} were asked for",
            found=f"its index names the file {name!r}, which is not a plain path below that root",
            do="Do not trust this data set; write it again, or have its owner do so.",
        )
    return name


@final
class Files:
    """The files of sources whose roots are folders of this machine. Shards are numbered within their source."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, int], str] = {}  # by id of source and number of shard: checked already

    def local(self, source: Source, shard: int, samples: Ints) -> Local:
        """Where the shard lies. Raises FetchError if it does not, CorruptError if its length is another one."""
        if not source.root:
            return Local("", None)
        path = self._paths.get((id(source), shard)) or self._check(source, shard)
        return Local(path, source.locate(shard, samples))

    def _check(self, source: Source, shard: int) -> str:
        found = source.shard(shard)
        folder = local_folder(source.root)
        assert folder is not None
        path = str(folder / check_name(source.root, found.name))
        check_size(path, found.size_bytes)
        source.prepare(shard, fetch_from(folder))
        return self._paths.setdefault((id(source), shard), path)

    def forget(self, source: Source, shard: int) -> None:
        """Look again at the next use."""
        self._paths.pop((id(source), shard), None)


def check_size(path: str, size_bytes: int) -> None:
    """The file is there and as long as the index says (if it says: negative is unknown)."""
    try:
        found = Path(path).stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if size_bytes >= 0 and found != size_bytes:
        raise CorruptError(
            asked=f"{path} was asked for",
            found=f"it has {found:,} bytes, its index says {size_bytes:,}",
            do="Copy or write this shard again.",
        )


def fetch_from(folder: Path) -> Fetch:
    """What `Source.prepare` reads a folder with."""

    def fetch(name: str, start: int = 0, stop: int | None = None) -> bytes:
        return read_small(folder / check_name(str(folder), name), start, stop)

    return fetch


def read_small(path: Path, start: int = 0, stop: int | None = None) -> bytes:
    """A small file or a part of one. Raises FetchError naming it."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)
    except OSError as error:
        raise unreadable(str(path), error) from error


def unreadable(path: str, error: OSError) -> FetchError:
    """The error for a local file that cannot be read."""
    return FetchError(
        asked=f"{path} was asked for",
        found=(error.strerror or str(error)).lower(),
        do="See that the folder is mounted and the data set whole (`leyden data verify`).",
    )


@final
class Here(Tiers):
    """Local roots, also NFS mounts read without a cache. Tickets are answered at once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._shards = Numbers(sources)
        self._files = Files()
        self._answered: deque[tuple[int, dict[int, Local] | DataError]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def follow(self, shards: Iterator[int]) -> None:
        """Nothing to fetch."""

    def ask(self, ticket: int, wanted: Mapping[int, Ints]) -> None:
        """Answered at once."""
        try:
            found = {shard: self._files.local(*self._shards[shard], samples) for shard, samples in wanted.items()}
            self._answered.append((ticket, found))
        except DataError as error:
            self._answered.append((ticket, error))
        os.eventfd_write(self._bell, 1)

    def answers(self) -> list[tuple[int, dict[int, Local] | DataError]]:
        """All that was asked since the last call."""
        found = list(self._answered)
        if found:
            self._answered.clear()
            os.eventfd_read(self._bell)
        return found

    def done(self, ticket: int) -> None:
        """Nothing to let go of."""

    def drop(self) -> None:
        """Forget what is not fetched yet."""
        self.answers()

    def discard(self, shard: int, path: str) -> bool:
        """False: there is no other copy to fetch."""
        self._files.forget(*self._shards[shard])
        return False

    def fileno(self) -> int:
        """An eventfd."""
        return self._bell

    def why(self) -> str:
        """Nothing ever waits."""
        return ""

    def close(self) -> None:
        """Twice does no harm."""
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1


@final
class Numbers:
    """Shards numbered over all sources → source and number within it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self._starts = [0]
        for source in self._sources:
            self._starts.append(self._starts[-1] + len(source.counts))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, shard: int) -> tuple[Source, int]:
        which = bisect_right(self._starts, shard) - 1
        return self._sources[which], shard - self._starts[which]


def any_packed(source: Source) -> bool:
    """Whether some of its files must pass a cache before they can be read."""
    return bool(source.root) and any(source.shard(number).packed for number in range(len(source.counts)))
