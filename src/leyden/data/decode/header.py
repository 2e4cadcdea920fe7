"""How large is a JPEG? Read from its frame header, without a decoder."""

from __future__ import annotations

from typing import Final

_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0–SOF15 without DHT, JPG, DAC
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM, RST0–RST7


def jpeg_size(raw: bytes | memoryview) -> tuple[int, int] | None:
    """(height, width); None if `raw` is no JPEG or has no such header. ITU-T T.81, B.2.2."""
    if bytes(raw[:3]) != b"\xff\xd8\xff":
        return None
    at, end = 2, len(raw) - 9
    while at < end and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            height, width = raw[at + 5] << 8 | raw[at + 6], raw[at + 7] << 8 | raw[at + 8]
            return (height, width) if height and width else None
        else:
            at += 2 + (raw[at + 2] << 8 | raw[at + 3])
    return None
