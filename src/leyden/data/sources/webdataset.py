"""How are tars of WebDataset read that were written without an index? Their headers are read once, the rest never."""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import google_crc32c
import numpy as np

from leyden.data.errors import CorruptError, DataError
from leyden.data.shards.schema import kind_of
from leyden.data.sources.base import RECORD, Ints, Reader, Records, Shard, Source
from leyden.data.sources.files import LOCAL_WINDOW_BYTES, WINDOW_BYTES, File, Given, Window, each, find
from leyden.data.sources.sample import Raw, Sample
from leyden.data.sources.tar import Member, Read, members
from leyden.data.tiers.remote import Remote, Root

_META: Final = re.compile(r"__[^/]*__($|/)")  # folders and files that WebDataset keeps for itself
_NO_CHECK: Final = -1
_MAPPED: Final = 512  # indexes kept open
_ZIPPED: Final = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")


@final
class WebDataset(Source):
    """Tar files in WebDataset's layout, here or in an object store.

    `data` is a folder or URL, a pattern ("s3://bucket/train-{000000..000099}.tar"), or a list of them. A sample is what
    lies side by side and has the same name up to the first dot; its fields are named by what follows, in lower case.

    The index of a tar is made at the first opening by reading its headers, and kept in `$XDG_CACHE_HOME/leyden/tars`. A
    remote tar is read in windows of 1 MiB, so small files cost a whole read of the tar; `leyden data index` stores the
    index beside the tars for everybody. Raises DataError if there are no tars, CorruptError for one that is damaged.
    """

    def __init__(self, data: Given, *, storage_options: Mapping[str, str] | None = None) -> None:
        _refuse_zipped(data)
        root, files = find(data, (".tar",), storage_options)
        indexes = each(lambda file: _index(root, file), files, doing="reading the headers of tars")
        counts = [path.stat().st_size // RECORD.itemsize for path in indexes]
        kept = [at for at, count in enumerate(counts) if count]
        if not kept:
            raise DataError(
                asked=f"the tars of {root.url} were opened as WebDataset",
                found="no file in them has an extension, so there are no samples",
                do="Name files <sample>.<field>, such as 000017.jpg and 000017.cls.",
            )
        self.root = root.url
        self._files, self._indexes = [files[at] for at in kept], [indexes[at] for at in kept]
        self._counts = np.array([counts[at] for at in kept], np.int64)
        self._mapped: OrderedDict[int, Records] = OrderedDict()

    @property
    def counts(self) -> Ints:
        """Samples of each tar."""
        return self._counts

    def shard(self, number: int) -> Shard:
        """The tar."""
        file = self._files[number]
        return Shard(name=file.name, size_bytes=file.size_bytes)

    def locate(self, shard: int, samples: Ints) -> Records:
        """From the first header of each sample to the end of its last file."""
        if shard not in self._mapped:
            self._mapped[shard] = np.fromfile(self._indexes[shard], RECORD)
            while len(self._mapped) > _MAPPED:
                self._mapped.popitem(last=False)
        return self._mapped[shard][samples]

    def open(self, shard: int, path: Path | None) -> Reader:
        """Reads samples one by one."""
        assert path is not None
        return _Tar(path, f"{self.root}/{self._files[shard].name}")

    def fingerprint(self) -> str:
        """Of names, sizes and counts."""
        listed = "\n".join(f"{file.name} {file.size_bytes}" for file in self._files).encode() + self._counts.tobytes()
        return f"WebDataset:{hashlib.sha256(listed).hexdigest()[:16]}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": OrderedDict()}


@final
class _Tar(Reader):
    def __init__(self, path: Path, where: str) -> None:
        self._where = where
        self._file = path.open("rb", buffering=0)

    def read(self, sample: int, record: Sequence[int] | None) -> Sample:
        assert record is not None
        offset, length, check = record
        raw = os.pread(self._file.fileno(), length, offset)
        where = f"sample {sample} of {self._where}"
        if len(raw) != length:
            raise _changed(where, f"the file ends {length - len(raw):,} bytes before it does")
        if check >= 0 and google_crc32c.value(raw) != check:
            raise _changed(where, "its checksum is another")
        view = memoryview(raw)
        found = list(_group(members(lambda at, size: raw[at : at + size], where, stop=length, whole=False), where))
        if len(found) != 1 or (check < _NO_CHECK and found[0].check != check):
            raise _changed(where, "its headers are not those that the index was made from")
        fields: dict[str, tuple[str, Raw]] = {
            field: (kind_of(field), view[member.data : member.stop]) for field, member in found[0].fields.items()
        }
        return Sample(found[0].key, fields)

    def close(self) -> None:
        self._file.close()


def _changed(where: str, found: str) -> CorruptError:
    return CorruptError(
        asked=f"{where} was read",
        found=found,
        do="The tar was changed while it was in use, or copied badly: open the data set anew, or copy it again.",
    )


class _Found(NamedTuple):
    key: str
    fields: dict[str, Member]

    @property
    def check(self) -> int:
        """-2 minus the crc32c of all headers: names, sizes and times."""
        return -2 - google_crc32c.value(b"".join(member.head for member in self.fields.values()))


def _group(found: Iterator[Member], where: str) -> Iterator[_Found]:
    """Members as samples, by WebDataset's rule. Raises CorruptError if a sample has a field twice."""
    key, fields = "", dict[str, Member]()
    for member in found:
        name = _split(member.name)
        if name is None:
            continue
        if fields and name[0] != key:
            yield _Found(key, fields)
            fields = {}
        key = name[0]
        if name[1] in fields:
            raise CorruptError(
                asked=f"{where} was read",
                found=f"sample {key!r} has the field {name[1]!r} twice",
                do="Write the tar anew: two samples have the same name, or a file was appended twice.",
            )
        fields[name[1]] = member
    if fields:
        yield _Found(key, fields)


def _split(name: str) -> tuple[str, str] | None:
    """Key and field of a member; None for what belongs to no sample.

    >>> _split("a.b/0001.seg.PNG"), _split("a.b/README"), _split("__info__/x.json")
    (('a.b/0001', 'seg.png'), None, None)
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extensions = base.partition(".")
    if not dot or not (folder or stem) or _META.match(name):
        return None
    return f"{folder}{slash}{stem}", extensions.lower()


def _index(root: Root, file: File) -> Path:
    """The file of RECORDs of a tar's samples, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "leyden" / "tars"
    known = hashlib.sha256(repr((root.url, file)).encode()).hexdigest()[:32]
    path = cache / f"{known}.records"
    if not path.exists():
        records = _scan(root, file)
        cache.mkdir(parents=True, exist_ok=True)
        draft = cache / f"{known}.{os.getpid()}.{id(records)}"
        records.tofile(draft)
        draft.replace(path)
    return path


def _scan(root: Root, file: File) -> Records:
    """Where the samples of a tar lie."""
    where = f"{root.url}/{file.name}"
    if isinstance(root, Remote):
        window = Window(lambda start, stop: root.get_range(file.name, start, stop), file.size_bytes, WINDOW_BYTES)
        return _records(window.read, where, file)
    with Path(root.url, file.name).open("rb", buffering=0) as opened:
        number = opened.fileno()
        window = Window(lambda start, stop: os.pread(number, stop - start, start), file.size_bytes, LOCAL_WINDOW_BYTES)
        return _records(window.read, where, file)


def _records(read: Read, where: str, file: File) -> Records:
    rows = []
    for sample in _group(members(read, where, stop=file.size_bytes, whole=True), where):
        found = list(sample.fields.values())
        rows.append((found[0].start, found[-1].stop - found[0].start, sample.check))
    return np.array(rows, RECORD)


def _refuse_zipped(data: Any) -> None:
    for one in [data] if isinstance(data, str | os.PathLike) else data:
        if os.fspath(one).endswith(_ZIPPED):
            raise DataError(
                asked=f"{one} was to be read as WebDataset",
                found="a packed tar can only be read from its begin, so a sample in it cannot be found",
                do="Unpack it (`gunzip`, `unzstd`): the pictures in it are compressed already.",
            )
