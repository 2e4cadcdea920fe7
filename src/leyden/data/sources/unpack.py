"""How is a compressed shard unpacked, without trusting it?"""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import zstandard

from leyden.data.errors import CorruptError

_PIECE: Final = 1 << 20
OPENERS: Final[Mapping[str, Callable[[IO[bytes]], Any]]] = {
    "zstd": lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
    "gz": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
}


def unpack(packed: Path, to: Path, compression: str, size_bytes: int, where: str) -> None:
    """Writes what `packed` holds to the file `to`. Raises CorruptError if that is not exactly `size_bytes` long."""
    found = 0
    try:
        with packed.open("rb") as file, OPENERS[compression](file) as stream, to.open("wb") as out:
            while found <= size_bytes and (piece := stream.read(_PIECE)):
                found += out.write(piece)
    except (zstandard.ZstdError, gzip.BadGzipFile, EOFError) as error:
        raise _broken(where, f"it is no {compression} file ({error})") from error
    if found != size_bytes:
        raise _broken(where, f"{found:,} bytes or more came out of it, its index says {size_bytes:,}")


def _broken(where: str, found: str) -> CorruptError:
    return CorruptError(asked=f"{where} was unpacked", found=found, do="It was cut off or changed: copy it again.")
