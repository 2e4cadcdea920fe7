"""How do metric points lie on disk?

A file of metrics is a sequence of frames, each written by one `write` call; all numbers little-endian:

    4 bytes   magic "LYM1"
    u32       length of the payload in bytes
    u32       CRC-32 (zlib) of the payload
    payload   u16 keys, then for each key: u16 length, UTF-8 name
              u32 rows
              i64 step of each row, f64 time of each row (seconds since 1970, UTC)
              f64 values, key by key: all rows of the first key, then of the second, …

A row is one call of `log`; rows with the same key set that arrive together share a frame. A torn or damaged frame
costs only its own points: the reader looks for the next magic and says how many bytes it skipped.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Number = TypeVar("_Number", int, float)

MAGIC = b"LYM1"
HEADER = struct.Struct("<4sII")
MAX_PAYLOAD_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Rows of one key set. `values[k][r]` is the value of key k in row r."""

    keys: tuple[str, ...]
    steps: array[int]
    times: array[float]
    values: tuple[array[float], ...]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bytes that are no whole frame, at `offset`."""

    offset: int
    size_bytes: int


def encode(keys: Sequence[str], steps: Sequence[int], times: Sequence[float], rows: Sequence[Sequence[float]]) -> bytes:
    """The bytes of one frame; `rows[r][k]` is the value of key k in row r."""
    names = [key.encode() for key in keys]
    parts = [struct.pack("<H", len(names))]
    parts += [struct.pack("<H", len(name)) + name for name in names]
    parts.append(struct.pack("<I", len(rows)))
    parts.append(_to_bytes(array("q", steps)))
    parts.append(_to_bytes(array("d", times)))
    parts += [_to_bytes(array("d", column)) for column in zip(*rows, strict=True)]
    payload = b"".join(parts)
    return HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def decode(data: bytes) -> Iterator[Frame | Damage]:
    """Every frame in order, and a Damage for each stretch that is none."""
    offset = 0
    while offset < len(data):
        end = whole(data, offset)
        if end:
            yield _parse(data[offset + HEADER.size : end])
            offset = end
            continue
        end = next_whole(data, offset + 1) or len(data)
        yield Damage(offset=offset, size_bytes=end - offset)
        offset = end


def whole(data: bytes, offset: int) -> int:
    """Where the frame at `offset` ends, 0 if no whole frame stands there."""
    if offset + HEADER.size > len(data):
        return 0
    magic, size, crc = HEADER.unpack_from(data, offset)
    start = offset + HEADER.size
    if magic != MAGIC or size > MAX_PAYLOAD_BYTES or start + size > len(data):
        return 0
    return start + size if zlib.crc32(memoryview(data)[start : start + size]) == crc else 0


def next_whole(data: bytes, offset: int) -> int:
    """Where the next whole frame begins, from `offset` on; 0 where none does."""
    offset = data.find(MAGIC, offset)
    while offset != -1 and not whole(data, offset):
        offset = data.find(MAGIC, offset + 1)
    return max(0, offset)


def _parse(payload: bytes) -> Frame:
    (count,) = struct.unpack_from("<H", payload)
    at, keys = 2, []
    for _ in range(count):
        (size,) = struct.unpack_from("<H", payload, at)
        keys.append(payload[at + 2 : at + 2 + size].decode())
        at += 2 + size
    (rows,) = struct.unpack_from("<I", payload, at)
    at += 4
    width = 8 * rows
    columns = [payload[start : start + width] for start in range(at, at + width * (count + 2), width)] if rows else []
    steps, times = array("q"), array("d")
    if rows:
        steps, times = _from_bytes(array("q"), columns[0]), _from_bytes(array("d"), columns[1])
    return Frame(
        keys=tuple(keys), steps=steps, times=times, values=tuple(_from_bytes(array("d"), one) for one in columns[2:])
    )


def _to_bytes(numbers: array[_Number]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _from_bytes(empty: array[_Number], data: bytes) -> array[_Number]:
    empty.frombytes(data)
    if sys.byteorder == "big":
        empty.byteswap()
    return empty
