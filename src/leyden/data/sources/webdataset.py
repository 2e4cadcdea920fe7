"""How are tars of WebDataset read that were written without an index? Their headers are read once, the rest never."""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

import google_crc32c
import numpy as np

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.shards.index import SUFFIX, Index
from leyden.data.shards.progress import Bar
from leyden.data.shards.schema import kind_of
from leyden.data.sources.base import RECORD, Ints, Reader, Records, Shard, Source
from leyden.data.sources.files import LOCAL_WINDOW_BYTES, TARS, WINDOW_BYTES, File, Given, Window, each, find, window
from leyden.data.sources.sample import Raw, Sample
from leyden.data.sources.tar import Member, Read, members
from leyden.data.tiers.here import local_folder

if TYPE_CHECKING:
    from leyden.data.tiers.remote import Root

_META: Final = re.compile(r"__[^/]*__($|/)")  # folders and files that WebDataset keeps for itself
_NO_CHECK: Final = -1
_HELD: Final = 512  # indexes kept in memory


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
        self.root, self.storage_options = root.url, storage_options
        self._tars = [tar for tar in _indexed(root, files) if tar.samples]
        if not self._tars:
            raise DataError(
                asked=f"the tars of {root.url} were opened as WebDataset",
                found="no file in them has an extension, so there are no samples",
                do="Name files <sample>.<field>, such as 000017.jpg and 000017.cls.",
            )
        self._counts = np.array([tar.samples for tar in self._tars], np.int64)
        self._held: OrderedDict[int, Records] = OrderedDict()

    @property
    def counts(self) -> Ints:
        """Samples of each tar."""
        return self._counts

    def shard(self, number: int) -> Shard:
        """The tar."""
        tar = self._tars[number]
        return Shard(name=tar.file.name, size_bytes=tar.file.size_bytes, sha256=tar.sha256)

    def locate(self, shard: int, samples: Ints) -> Records:
        """From the first header of each sample to the end of its last file."""
        records = self._held.get(shard)
        if records is None:
            records = self._held[shard] = self._tars[shard].records()
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return records[samples]

    def open(self, shard: int, path: Path | None) -> Reader:
        """Reads samples one by one."""
        assert path is not None
        return _Reader(path, f"{self.root}/{self._tars[shard].file.name}")

    def fingerprint(self) -> str:
        """Of names, sizes and counts."""
        listed = [(tar.file.name, tar.file.size_bytes, tar.samples) for tar in self._tars]
        return f"WebDataset:{hashlib.sha256(repr(listed).encode()).hexdigest()[:16]}"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_held": OrderedDict()}


@final
class _Reader(Reader):
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
        found = list(group(members(lambda at, size: raw[at : at + size], where, stop=length, whole=False), where))
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
        return -2 - int(google_crc32c.value(b"".join(member.head for member in self.fields.values())))


def group(found: Iterator[Member], where: str) -> Iterator[_Found]:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tar:
    """A tar and its index: the content of a sidecar, or an array of RECORD made by reading headers."""

    file: File
    index: Path | bytes  # a file in the cache; the bytes themselves where no file can be written
    samples: int
    sha256: str | None = None  # known from a sidecar

    def records(self) -> Records:
        try:
            raw = self.index if isinstance(self.index, bytes) else self.index.read_bytes()
        except OSError as error:
            raise FetchError(
                asked=f"the index of {self.file.name} was asked for",
                found=f"it cannot be read from the cache any more ({error})",
                do="Open the data set anew: the index is made again.",
            ) from error
        return np.frombuffer(raw, RECORD) if self.sha256 is None else Index.from_bytes(raw, self.file.name).records()


def _indexed(root: Root, files: Sequence[File]) -> list[_Tar]:
    """The tars with their indexes; those of unknown ones are made."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "leyden" / "tars"
    known = {
        file: tar for file, tar in zip(files, each(lambda file: _known(root, file, folder), files), strict=True) if tar
    }
    unknown = [file for file in files if file not in known]
    if unknown:
        with Bar("reading the headers of tars", None) as bar:

            def made(file: File) -> _Tar:
                records = _scan(root, file)
                bar.add(len(records))
                return _kept(_in_cache(folder, root, file), records.tobytes(), file, len(records))

            known |= zip(unknown, each(made, unknown), strict=True)
    return [known[file] for file in files]


def _known(root: Root, file: File, folder: Path) -> _Tar | None:
    """From the sidecar, or from the cache."""
    try:
        sidecar = File(file.name + SUFFIX, *root.stat(file.name + SUFFIX))
    except FetchError:
        path = _in_cache(folder, root, file)
        samples, odd = divmod(_size(path), RECORD.itemsize)
        return None if odd else _Tar(file=file, index=path, samples=samples)
    path = _in_cache(folder, root, sidecar)
    raw = path.read_bytes() if _size(path) == sidecar.size_bytes else root.get(sidecar.name)
    index = Index.from_bytes(raw, f"{root.url}/{sidecar.name}")
    if index.size_bytes != file.size_bytes:
        raise CorruptError(
            asked=f"{root.url}/{file.name} was opened with its index",
            found=f"it has {file.size_bytes:,} bytes, the index beside it is of a tar of {index.size_bytes:,}",
            do="Copy the tar again, or make the index anew (`leyden data index`).",
        )
    return _kept(path, raw, file, len(index), index.sha256)


def _size(path: Path) -> int:
    """-1 if it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _in_cache(folder: Path, root: Root, file: File) -> Path:
    return folder / hashlib.sha256(repr((root.url, file)).encode()).hexdigest()[:32]


def _kept(path: Path, raw: bytes, file: File, samples: int, sha256: str | None = None) -> _Tar:
    index: Path | bytes = path
    try:
        if _size(path) != len(raw):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(raw)
            draft.replace(path)
    except OSError:  # a home that cannot be written to, or is full
        index = raw
    return _Tar(file=file, index=index, samples=samples, sha256=sha256)


def _scan(root: Root, file: File) -> Records:
    """Where the samples of a tar lie."""
    where = f"{root.url}/{file.name}"
    if local_folder(root.url) is None:
        return _records(window(root, file, WINDOW_BYTES).read, where, file)
    with Path(root.url, file.name).open("rb", buffering=0) as opened:
        number = opened.fileno()
        near = Window(lambda at, stop: os.pread(number, stop - at, at), file.size_bytes, lambda: LOCAL_WINDOW_BYTES)
        return _records(near.read, where, file)


def _records(read: Read, where: str, file: File) -> Records:
    rows = []
    for sample in group(members(read, where, stop=file.size_bytes, whole=True), where):
        found = list(sample.fields.values())
        rows.append((found[0].start, found[-1].stop - found[0].start, sample.check))
    return np.array(rows, RECORD)


def _refuse_zipped(data: Any) -> None:
    for one in [data] if isinstance(data, str | os.PathLike) else data:
        if os.fspath(one).endswith(TARS[1:]):
            raise DataError(
                asked=f"{one} was to be read as WebDataset",
                found="a packed tar can only be read from its begin, so a sample in it cannot be found",
                do="Unpack it (`gunzip`, `unzstd`): the pictures in it are compressed already.",
            )
