"""What lies in a tar, and where? Reads headers only: v7, ustar, GNU (long names, sizes above 8 GiB) and pax.

Python's `tarfile` needs 20 µs a header and cannot start in the middle; a worker parses a few headers for every sample.
Layout: pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html, and "Basic Tar Format" of GNU tar's manual.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, NoReturn

from leyden.data.errors import CorruptError

BLOCK: Final = 512
Read = Callable[[int, int], bytes]  # (offset, length) -> as many of these bytes as there are
_ZEROS: Final = bytes(BLOCK)
_LONGEST_NAME: Final = 1 << 20


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    start: int  # of its first header, which may be one that holds a long name
    data: int  # where its content begins
    size: int
    head: bytes  # all bytes from start to data

    @property
    def stop(self) -> int:
        """Where its content ends, without the padding to whole blocks."""
        return self.data + self.size


def members(read: Read, where: str, *, start: int = 0, stop: int, whole: bool) -> Iterator[Member]:
    """The regular files among the bytes start:stop of the tar `where`, in their order.

    `whole`: the range reaches to the file's end, so the two zero blocks that end a tar must be there.
    Raises CorruptError for a wrong checksum, a file that is cut off, a link, a device, a name outside of the folder.
    """
    here = start
    while here < stop or whole:
        member, here = _next(read, where, here, stop)
        if member is None:
            if here == 0:  # no header, but zeros: the end
                return
            continue
        yield member


def _next(read: Read, where: str, start: int, stop: int) -> tuple[Member | None, int]:
    """The member whose headers begin at `start` (None if it is a folder, or the end) and where the next one begins."""
    head, long_name, long_size = b"", None, None
    here = start
    while True:
        raw = read(here, BLOCK)
        if raw == _ZEROS and not head:
            return None, 0
        size = _size(raw, where, here, stop)
        kind = raw[156:157]
        here += BLOCK
        if kind in b"LKxg":
            content = read(here, size) if size <= _LONGEST_NAME else b""
            if len(content) != size:
                _broken(where, here, f"a name of {size:,} bytes is cut off")
            here += -(-size // BLOCK) * BLOCK
            head += raw + content
            if kind == b"L":
                long_name = content.rstrip(b"\0")
            elif kind == b"x":
                fields = _pax(content, where, here)
                long_name = fields.get(b"path", long_name)
                long_size = int(fields[b"size"]) if b"size" in fields else long_size
            continue
        name = (long_name or _name(raw)).decode("utf-8", "surrogateescape")
        folder = kind == b"5" or (kind == b"\0" and name.endswith("/"))
        size = 0 if folder else size if long_size is None else long_size
        if here + size > stop:
            _broken(where, here - BLOCK, f"{name!r} has {size:,} bytes, but the file ends after {stop - here:,}")
        check_name(name, where)
        if kind not in b"\x000" + b"75":
            _broken(where, here - BLOCK, f"{name!r} is {_KINDS.get(kind, 'of an unknown kind')}, not a plain file")
        after = here + -(-size // BLOCK) * BLOCK
        return (None if folder else Member(name, start, here, size, head + raw)), after


_KINDS: Final = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


def check_name(name: str, where: str) -> None:
    """Raise CorruptError if a name in an index or an archive leaves its folder."""
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise CorruptError(
            asked=f"{where} was opened",
            found=f"the name {name!r} in it leads out of its folder",
            do="Whoever wrote it made a mistake, or means harm: write it anew with relative names.",
        )


def _size(raw: bytes, where: str, here: int, stop: int) -> int:
    """The size field of a header whose checksum has been verified."""
    if len(raw) < BLOCK:
        _broken(where, here, f"the tar ends after {stop:,} bytes without its end mark")
    try:
        checksum = int(raw[148:156].strip(b" \0") or b"0", 8)
        size = int.from_bytes(raw[125:136], "big") if raw[124] == 0x80 else int(raw[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        checksum, size = -1, 0
    if checksum != _sum(raw) and checksum != _signed_sum(raw):
        _broken(where, here, "the checksum of the header there is wrong")
    return size


def _sum(raw: bytes) -> int:
    """Of all bytes, the checksum's own taken as blanks; the lower half of Adler-32 is a sum, and 20 times faster."""
    plain = raw[:148] + b"        " + raw[156:]
    return (zlib.adler32(plain[:256]) & 0xFFFF) + (zlib.adler32(plain[256:]) & 0xFFFF) - 2


def _signed_sum(raw: bytes) -> int:
    """What some old writers stored: the sum of the bytes as signed numbers."""
    plain = raw[:148] + b" " * 8 + raw[156:]
    return sum(plain) - 256 * sum(byte > 127 for byte in plain)


def _name(raw: bytes) -> bytes:
    name = raw[:100].partition(b"\0")[0]
    prefix = raw[345:500].partition(b"\0")[0] if raw[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(content: bytes, where: str, here: int) -> dict[bytes, bytes]:
    """The records "length key=value\\n" of a pax header."""
    fields = {}
    while content.strip(b"\0"):
        length = content.partition(b" ")[0]
        if not length.isdigit() or not len(length) < int(length) <= len(content):
            _broken(where, here, "a pax header is garbled")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        fields[key] = value
        content = content[int(length) :]
    if any(key.startswith(b"GNU.sparse") for key in fields) or not fields.get(b"size", b"0").isdigit():
        _broken(where, here, "a sparse member, or one without a size")
    return fields


def _broken(where: str, here: int, found: str) -> NoReturn:
    raise CorruptError(
        asked=f"{where} was read at byte {here:,}",
        found=found,
        do="It is cut off, was changed since it was indexed, or is no tar: copy it again, or write it anew.",
    )
