"""What value do the bytes of an MDS column stand for? One decoder for each encoding that MosaicML Streaming has."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leyden.data.decode.picture import Picture

Decoder = Callable[[memoryview], Any]

# Decoded by `Sample` when they are asked for.
_KINDS: Final = {"bytes": "bytes", "str": "text", "jpeg": "jpeg", "png": "png", "json": "json"}
_NUMBERS: Final = {
    **{f"uint{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
# The byte that names an array's dtype: its bits, + 1 if signed, + 2 if a float.
_DTYPES: Final = {
    int(name.lstrip("uintfloa")) + (name[0] == "i") + 2 * (name[0] == "f"): code for name, code in _NUMBERS.items()
}


def decoder(encoding: str) -> Decoder | str:
    """What decodes that encoding; a str is a kind of `Sample`'s fields. Raises KeyError or ValueError if unknown."""
    name, _, more = encoding.partition(":")
    if name == "ndarray":
        return _ndarray(more)
    if encoding in _KINDS:
        return _KINDS[encoding]
    if encoding in _NUMBERS:
        return partial(_number, _NUMBERS[encoding])
    return _DECODERS[encoding]


def _number(dtype: str, raw: memoryview) -> Any:
    (value,) = np.frombuffer(raw, dtype)
    return value


def _integer(raw: memoryview) -> int:
    return int(_number("<i8", raw))


def _text(raw: memoryview) -> str:
    return bytes(raw).decode()


def _ndarray(given: str) -> Decoder:
    """ "ndarray", "ndarray:dtype" or "ndarray:dtype:shape"; the shape as "2,3"."""
    dtype, _, axes = given.partition(":")
    shape = tuple(map(int, axes.split(","))) if axes else None
    return partial(_array, _NUMBERS[dtype] if dtype else None, shape)


def _array(dtype: str | None, shape: tuple[int, ...] | None, raw: memoryview) -> NDArray[Any]:
    """What is not fixed for the column stands before the values: dtype, number of axes, their lengths."""
    here = 0
    if dtype is None:
        dtype, here = _DTYPES[raw[0]], 1
    if shape is None:
        axes, width = raw[here] >> 2, 1 << (raw[here] & 3)
        here += 1
        shape = tuple(np.frombuffer(raw[here : here + axes * width], f"<u{width}").tolist())
        here += axes * width
    return np.frombuffer(raw[here:], dtype).reshape(shape).copy()


def _pil(raw: memoryview) -> NDArray[Any]:
    """Width, height, length of the mode (uint32), the mode, pixels."""
    from PIL import Image

    width, height, length = np.frombuffer(raw[:12], "<u4").tolist()
    mode = bytes(raw[12 : 12 + length]).decode()
    return np.array(Image.frombytes(mode, (width, height), bytes(raw[12 + length :])))


def _pictures(raw: memoryview) -> list[Picture]:
    return [Picture(part) for part in _parts(raw[4:])]


def _parts(raw: memoryview) -> list[memoryview]:
    """Their number, their sizes (uint32), then they themselves."""
    count = int.from_bytes(raw[:4], "little")
    sizes = np.frombuffer(raw[4 : 4 * (1 + count)], "<u4").tolist()
    ends = np.cumsum([4 * (1 + count), *sizes]).tolist()
    if len(sizes) != count or ends[-1] != len(raw):
        raise ValueError(f"{count} parts do not fill {len(raw)} bytes")
    return [raw[start:stop] for start, stop in pairwise(ends)]


_DECODERS: Final[dict[str, Decoder]] = {
    "int": _integer,
    "str_int": lambda raw: int(_text(raw)),
    "str_float": lambda raw: float(_text(raw)),
    "str_decimal": lambda raw: Decimal(_text(raw)),
    "pil": _pil,
    "jpeg_array": lambda raw: [Picture(part) for part in _parts(raw)],
    "jpegarray": lambda raw: [Picture(part) for part in _parts(raw)],
    "list[jpeg]": _pictures,
    "list[png]": _pictures,
    "list[pil]": lambda raw: [_pil(part) for part in _parts(raw[4:])],  # four bytes for later use come first
}
