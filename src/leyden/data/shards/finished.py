"""Which shards of an unfinished data set are whole, and how does one become so?"""

from __future__ import annotations

import hashlib
from pathlib import Path

from leyden.data.errors import CorruptError, DataError
from leyden.data.shards.index import SUFFIX, Index
from leyden.data.shards.place import Place


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:06}.tar"


def publish(place: Place, path: Path, name: str, index: bytes) -> None:
    """The shard's scratch file and its index appear, the index last: with it the shard is finished."""
    try:
        place.publish(path, name)
    finally:
        path.unlink(missing_ok=True)
    place.write(name + SUFFIX, index)


def kept(place: Place, name: str) -> tuple[bytes, Index] | None:
    """The index of a finished shard, as bytes and read. None if there is none or the shard is not as it says."""
    raw = place.read(name + SUFFIX)
    if raw is None:
        return None
    try:
        index = Index.from_bytes(raw, name + SUFFIX)
    except CorruptError:
        return None
    file = place.whole(name)
    whole = place.size(name) == index.size_bytes and (file is None or sha256_of(file) == index.sha256)
    return (raw, index) if whole else None


def sha256_of(file: Path) -> str:
    """Of its whole content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def others(name: str, place: Place) -> DataError:
    """The error for samples that are not those of the first run."""
    return DataError(
        asked=f"the unfinished data set at {place.url} was to be continued",
        found=f"the samples are not those that {name} was made of",
        do="Give the same samples in the same order; or delete leyden-unfinished.json there and give overwrite=True.",
    )
