"""What does a JPEG say before its pixels? Read in Python, without a decoder. ITU-T T.81, B.2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0–SOF15 without DHT, JPG, DAC
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM, RST0–RST7
_SCAN: Final = 0xDA
_NOTES: Final = frozenset({*range(0xE1, 0xF0), 0xFE} - {0xEE})  # APP1–APP15 without Adobe's; comments
_JFIF: Final = 0xE0


def jpeg_size(raw: bytes | memoryview) -> tuple[int, int] | None:
    """(height, width); None if `raw` is no JPEG or has no such header."""
    for marker, start, _ in _segments(raw):
        if marker in _FRAMES:
            height, width = _word(raw, start + 5), _word(raw, start + 7)
            return (height, width) if height and width else None
    return None


def jpeg_blocks_across(raw: bytes | memoryview) -> int | None:
    """Blocks (MCUs) in a row of the picture, when all components are in one scan; None if `raw` is no JPEG."""
    for marker, start, stop in _segments(raw):
        if marker in _FRAMES:
            factors = [raw[at] >> 4 for at in range(start + 11, min(stop, len(raw)), 3)]
            return -(-_word(raw, start + 7) // (8 * (max(1, *factors) if len(factors) > 1 else 1)))
    return None


def with_notes_of(raw: bytes | memoryview, plain: bytes) -> bytes:
    """`plain` with what `raw` says beside the picture: EXIF, ICC profile, comments."""
    notes = b"".join(bytes(raw[start:stop]) for marker, start, stop in _segments(raw) if marker in _NOTES)
    at = 2 + (2 + _word(plain, 4) if plain[3] == _JFIF else 0)  # JFIF's note must come first
    return plain[:at] + notes + plain[at:]


def _segments(raw: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """(marker, start, stop) of all that stands before the first scan, markers included."""
    if bytes(raw[:3]) != b"\xff\xd8\xff":
        return
    at, end = 2, len(raw) - 9
    while at < end and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker == _SCAN:
            return
        else:
            stop = at + 2 + _word(raw, at + 2)
            yield marker, at, stop
            at = stop


def _word(raw: bytes | memoryview, at: int) -> int:
    return raw[at] << 8 | raw[at + 1]
