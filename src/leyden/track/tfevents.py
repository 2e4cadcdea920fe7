"""How do TensorBoard's event files lie on disk, read and written without TensorFlow?

A file is records: u64 length, u32 checksum of it, bytes, u32 checksum of these; little-endian, masked CRC-32C. Each
record is a protocol buffer, Event: 1 wall_time, 2 step, 5 summary; Summary: 1 value…; Value: 1 tag, 2 simple_value,
4 image, 5 histogram, 6 audio, 8 tensor, 9 metadata.
(tensorboard/compat/proto/{event,summary,tensor}.proto; tensorflow/core/lib/io/record_writer.h)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

PATTERN: Final = "*.tfevents.*"
SESSION: Final = "_hparams_/session_start_info"  # the tag under which TensorBoard looks for hparams
_PNG_SIZE: Final = struct.Struct(">16xII")
_GIF_SIZE: Final = struct.Struct("<6xHH")
_HEAD: Final = struct.Struct("<QI")
_MOST_BYTES: Final = 1 << 30  # of one record
_MASK: Final = 0xA282EAD8
_DTYPES: Final = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    9: "<i8",
    10: "?",
    19: "<f2",
}  # tensorflow/core/framework/types.proto
_QUIET: Final = ("", "hparams", "custom_scalars", "text", "images", "histograms", "scalars")  # nothing is lost with it
_NUMBERS: Final = {5: "<f4", 6: "<f8"}  # fields of TensorProto that hold numbers one by one


@dataclass(frozen=True, kw_only=True)
class Value:
    """One thing that was logged: `number`, or `data` of the kind image (a file), text, histogram or hparams.

    Of the kind other, `data` is the plugin of TensorBoard's that it is for.
    """

    tag: str
    kind: str
    step: int
    at: float
    number: float = 0.0
    data: Any = None


def read(path: Path) -> Iterator[Value]:
    """What the file holds, in order; a torn end is left out. Raises OSError."""
    plugins: dict[str, str] = {}  # only the first value of a tag says which plugin it is for
    for record in _records(path):
        try:
            yield from _values(record, plugins)
        except (ValueError, struct.error, IndexError, KeyError):  # none of ours
            continue


def write(path: Path, points: Iterable[tuple[str, int, float, float]], values: Iterable[Value] = ()) -> None:
    """An event file of these points (tag, step, time, value), and of pictures, texts, histograms and hparams.

    Raises OSError.
    """
    with path.open("wb") as file:
        file.write(_record(_double(1, 0.0) + _bytes(3, b"brain.Event:2")))
        for tag, step, at, value in points:
            one = _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", _float32(value))
            file.write(_record(_double(1, at) + b"\x10" + _varint(step) + _bytes(5, _bytes(1, one))))
        for each in values:
            one = _bytes(1, each.tag.encode()) + _ENCODE[each.kind](each.data)
            file.write(_record(_double(1, each.at) + b"\x10" + _varint(each.step) + _bytes(5, _bytes(1, one))))


def _records(path: Path) -> Iterator[memoryview]:
    data = memoryview(path.read_bytes())
    at = 0
    while at + _HEAD.size <= len(data):
        size, _ = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if size > _MOST_BYTES or at + size + 4 > len(data):
            return
        yield data[at : at + size]
        at += size + 4


def _values(record: memoryview, plugins: dict[str, str]) -> Iterator[Value]:
    event = _fields(record)
    at = struct.unpack("<d", event[1][0])[0] if 1 in event else 0.0
    step = _signed(event[2][0]) if 2 in event else 0
    for summary in event.get(5, ()):
        for one in _fields(summary).get(1, ()):
            fields = _fields(one)
            tag = bytes(fields[1][0]).decode() if 1 in fields else ""
            if 9 in fields and 1 in (metadata := _fields(fields[9][0])):
                plugin = _fields(metadata[1][0])
                plugins.setdefault(tag, bytes(plugin[1][0]).decode() if 1 in plugin else "")
                if plugins[tag] == "hparams" and 2 in plugin:
                    if given := _hparams(plugin[2][0]):
                        yield Value(tag=tag, kind="hparams", step=step, at=at, data=given)
                    continue
            kind, number, data = _what(fields, plugins.get(tag, ""))
            for part in data if kind == "image" else [data]:
                if tag and kind:
                    yield Value(tag=tag, kind=kind, step=step, at=at, number=number, data=part)


def _what(fields: dict[int, list[Any]], plugin: str) -> tuple[str, float, Any]:
    """Kind, number and data of a value."""
    if 2 in fields:
        return "scalar", float(struct.unpack("<f", fields[2][0])[0]), None
    if 4 in fields:
        return "image", 0.0, [bytes(_fields(fields[4][0])[4][0])]
    if 5 in fields:
        return "histogram", 0.0, _buckets(_fields(fields[5][0]))
    if 6 in fields:
        return "other", 0.0, "audio"
    return _what_tensor(_fields(fields[8][0]), plugin) if 8 in fields else ("", 0.0, None)


def _what_tensor(fields: dict[int, list[Any]], plugin: str) -> tuple[str, float, Any]:
    """The same of what TensorFlow 2 and PyTorch's text and histograms are wrapped in."""
    numbers, texts = _tensor(fields)
    if plugin == "text" and texts:
        return "text", 0.0, b"\n\n".join(texts)
    if plugin == "images" and len(texts) > 2:  # width and height stand first
        return "image", 0.0, texts[2:]
    if plugin == "histograms" and numbers.size and numbers.size % 3 == 0:
        rows = numbers.reshape(-1, 3)
        return "histogram", 0.0, (rows[:, 2].tolist(), [float(rows[0, 0]), *rows[:, 1].tolist()])
    if plugin in ("scalars", "") and numbers.size == 1:
        return "scalar", float(numbers[0]), None
    return ("other", 0.0, plugin) if plugin not in _QUIET else ("", 0.0, None)


def _buckets(fields: dict[int, list[Any]]) -> tuple[list[float], list[float]]:
    """Counts and edges; the outermost buckets reach to infinity, so the least and the greatest bound them."""
    least, greatest = (struct.unpack("<d", fields[number][0])[0] if number in fields else 0.0 for number in (1, 2))
    limits, counts = (np.frombuffer(b"".join(map(bytes, fields.get(n, ()))), "<f8") for n in (6, 7))
    edges = np.clip(np.concatenate(([least], limits)), least, greatest)
    kept = np.flatnonzero(counts)
    first, last = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, min(1, len(counts)))
    return counts[first:last].tolist(), np.maximum.accumulate(edges[first : last + 1]).tolist()


def _tensor(fields: dict[int, list[Any]]) -> tuple[Any, list[bytes]]:
    texts = [bytes(one) for one in fields.get(8, ())]
    content = bytes(fields[4][0]) if 4 in fields else b""
    dtype = _DTYPES.get(int(fields[1][0]) if 1 in fields else 0)
    if content and dtype:
        return np.frombuffer(content, dtype).astype(np.float64), texts
    for number, kind in _NUMBERS.items():
        if number in fields:
            return np.frombuffer(b"".join(map(bytes, fields[number])), kind).astype(np.float64), texts
    for number in (7, 10):
        if number in fields:
            whole = [item for one in fields[number] for item in ([one] if isinstance(one, int) else _varints(one))]
            return np.array([_signed(one) for one in whole], np.float64), texts
    return np.zeros(0), texts


def _hparams(content: memoryview) -> dict[str, Any]:
    """HParamsPluginData: 3 session_start_info, whose 1 maps names to google.protobuf.Value."""
    found: dict[str, Any] = {}
    for start in _fields(content).get(3, ()):
        for entry in _fields(start).get(1, ()):
            pair = _fields(entry)
            value = _fields(pair[2][0]) if 2 in pair else {}
            name = bytes(pair[1][0]).decode()
            if 2 in value:
                found[name] = struct.unpack("<d", value[2][0])[0]
            elif 3 in value:
                found[name] = bytes(value[3][0]).decode()
            elif 4 in value:
                found[name] = bool(value[4][0])
    return found


def _as_image(data: bytes) -> bytes:
    """TensorBoard wants the size too, which every PNG and GIF says at its beginning."""
    width, height = 0, 0
    if data.startswith(b"\x89PNG") and len(data) >= _PNG_SIZE.size:
        width, height = _PNG_SIZE.unpack_from(data)
    elif data.startswith(b"GIF8") and len(data) >= _GIF_SIZE.size:
        width, height = _GIF_SIZE.unpack_from(data)
    return _bytes(4, b"\x08" + _varint(height) + b"\x10" + _varint(width) + b"\x18\x04" + _bytes(4, data))


def _as_text(data: bytes) -> bytes:
    shape = _bytes(2, _bytes(2, b"\x08\x01"))  # one text
    return _bytes(9, _bytes(1, _bytes(1, b"text"))) + _bytes(8, b"\x08\x07" + shape + _bytes(8, data))


def _as_histogram(data: tuple[Sequence[float], Sequence[float]]) -> bytes:
    counts, edges = (np.array(part, np.float64) for part in data)
    middles = (edges[1:] + edges[:-1]) / 2
    sums = (edges[0], edges[-1], counts.sum(), (counts * middles).sum(), (counts * middles**2).sum())
    head = b"".join(_double(number, float(value)) for number, value in enumerate(sums, 1))
    return _bytes(5, head + _bytes(6, edges[1:].astype("<f8").tobytes()) + _bytes(7, counts.astype("<f8").tobytes()))


def _as_hparams(data: dict[str, Any]) -> bytes:
    def encoded(value: Any) -> bytes:
        if isinstance(value, bool):
            return b"\x20" + _varint(value)
        return _bytes(3, value.encode()) if isinstance(value, str) else _double(2, float(value))

    pairs = b"".join(_bytes(1, _bytes(1, name.encode()) + _bytes(2, encoded(value))) for name, value in data.items())
    return _bytes(9, _bytes(1, _bytes(1, b"hparams") + _bytes(2, _bytes(3, pairs))))


_ENCODE: Final[dict[str, Callable[[Any], bytes]]] = {
    "image": _as_image,
    "text": _as_text,
    "histogram": _as_histogram,
    "hparams": _as_hparams,
}


# Protocol buffers -----------------------------------------------------------------------------------------------------


def _fields(data: memoryview) -> dict[int, list[Any]]:
    """Every field by its number: bytes, or whole numbers. Raises ValueError for what is no message."""
    found: dict[int, list[Any]] = {}
    at, end = 0, len(data)
    while at < end:
        key, at = _read_varint(data, at)
        kind = key & 7
        value: Any
        if kind == 0:
            value, at = _read_varint(data, at)
        else:
            if kind == 2:
                size, at = _read_varint(data, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise ValueError(kind)
            if at + size > end:
                raise ValueError(size)
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError(shift)


def _varints(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float32(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _record(data: bytes) -> bytes:
    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", _masked(size)) + data + struct.pack("<I", _masked(data))


def _masked(data: bytes) -> int:
    crc = _crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError:  # of leyden[data]; ours is a hundred times slower and as right
        crc = 0xFFFFFFFF
        for byte in data:
            crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
        return crc ^ 0xFFFFFFFF
    return cast("int", google_crc32c.value(data))


def _table() -> Sequence[int]:
    found = []
    for number in range(256):
        crc = number
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # Castagnoli's polynomial, its bits turned around
        found.append(crc)
    return found


_TABLE: Final = _table()
