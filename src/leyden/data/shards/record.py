"""How does one sample lie in a tar? Its members side by side: one range of bytes, written and parsed here.

A member is a ustar header of 512 bytes, the content, and zeros up to the next 512. `tarfile` needs 20 µs for a header
and the same to parse one; a data loader does this a thousand times a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from leyden.data.errors import DataError
from leyden.data.sources.sample import Raw
from leyden.data.sources.tar import members

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)  # what a tar ends with
_LARGEST: Final = 8**11 - 1  # what eleven octal digits hold
# mode, uid, gid | mtime | checksum as blanks, type, link name, magic, owner, group, device, prefix
_MODE: Final = b"0000644\x000000000\x000000000\x00"
_TAIL: Final = b"00000000000\x00        0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\x00" * 2 + bytes(167)
_SUM: Final = sum(_MODE) + sum(_TAIL)


def join(key: str, fields: Iterable[tuple[str, bytes]]) -> bytes:
    """The members `<key>.<extension>` with these contents, as they stand in the tar. The same bytes on any day."""
    parts = []
    for extension, content in fields:
        parts += [header(f"{key}.{extension}", len(content)), content, bytes(-len(content) % BLOCK)]
    return b"".join(parts)


def header(name: str, size_bytes: int) -> bytes:
    """A member's header: an ordinary file, mode 644, nobody's, of 1 January 1970."""
    raw = name.encode()
    if size_bytes > _LARGEST:
        raise DataError(
            asked=f"{name} was to be stored",
            found=f"it has {size_bytes:,} bytes; a file in a tar has {_LARGEST:,} at most",
            do="Cut it into several samples.",
        )
    if len(raw) > 100:  # GNU's long names
        import tarfile  # not loaded by workers, which only read

        info = tarfile.TarInfo(name)
        info.size, info.mtime = size_bytes, 0
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
    size = b"%011o\x00" % size_bytes
    checksum = b"%06o\x00 " % (_SUM + sum(raw) + sum(size))
    return b"".join((raw.ljust(100, b"\0"), _MODE, size, _TAIL[:12], checksum, _TAIL[20:]))


def split(raw: bytes, known: Mapping[bytes, tuple[str, str]]) -> tuple[str, dict[str, tuple[str, Raw]]]:
    """The key and the fields by name, each (kind, bytes); the bytes are views, nothing is copied.

    `known`: extension → (field, kind). Other members are left out. Raises ValueError for what is no sample.
    """
    view, end, here = memoryview(raw), len(raw), 0
    fields: dict[str, tuple[str, Raw]] = {}
    dot = raw.find(b".", raw.rfind(b"/", 0, 100) + 1)
    stem = raw[: dot + 1]
    while here < end:
        if here + BLOCK > end or raw[here + 156] != 48 or raw[here + 345] or not raw.startswith(stem, here):
            return _split_slowly(raw, known)
        size = int(raw[here + 124 : here + 135], 8)
        extension = raw[here + dot + 1 : here + 100]
        if raw[here + 99] == 0:
            extension = extension[: extension.index(0)]
        content = here + BLOCK
        if found := known.get(extension) or known.get(extension.lower()):
            fields[found[0]] = found[1], view[content : content + size]
        here = content + size + -size % BLOCK
    if here != end:
        raise ValueError(f"its last file ends {here - end:,} bytes after it")
    return stem[:-1].decode(), fields


def _split_slowly(raw: bytes, known: Mapping[bytes, tuple[str, str]]) -> tuple[str, dict[str, tuple[str, Raw]]]:
    """The same for members with long names, pax headers and other things that Leyden does not write."""
    view, key = memoryview(raw), None
    fields: dict[str, tuple[str, Raw]] = {}
    for one in members(lambda at, length: raw[at : at + length], "a sample", stop=len(raw), whole=False):
        here, extension = key_of(one.name)
        if key not in {None, here}:
            raise ValueError(f"it has members of two samples, {key} and {here}")
        key = here
        if found := known.get(extension.lower().encode()) or known.get(extension.encode()):
            fields[found[0]] = found[1], view[one.data : one.stop]
    return key or "", fields


def key_of(name: str) -> tuple[str, str]:
    """Key and extension of a member: cut at the first dot after the folders, as WebDataset does.

    >>> key_of("train.a/0001.seg.png")
    ('train.a/0001', 'seg.png')
    """
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension
