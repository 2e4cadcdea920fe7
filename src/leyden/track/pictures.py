"""What counts as a picture, and how does it become a PNG?

Only the copy is made by the caller; range, size and compression (zlib's fastest level, without the interpreter's
lock) are for another thread. No imaging library is needed.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leyden.core.errors import RecordError

Pixels = NDArray[Any]

MOST: Final = 1000  # pictures a call
_COLOURS: Final = {1: 0, 3: 2, 4: 6}  # channels → PNG's colour type
_LEVEL: Final = 1


def copies(name: str, given: object) -> list[Pixels]:
    """Each picture as an array of its own, height × width × (1, 3 or 4): uint8, or floats from 0 to 1.

    Takes arrays H×W, H×W×C and N×H×W×C; tensors of PyTorch H×W, C×H×W and N×C×H×W; pictures of Pillow, figures of
    Matplotlib, also as axes or `pyplot`; and lists of these. Raises RecordError for anything else.
    """
    found = list(_each(name, given))
    if not 1 <= len(found) <= MOST:
        asked = f"image {name!r} was logged"
        raise RecordError(asked=asked, found=f"it holds {len(found)} pictures", do=f"Log 1 to {MOST} at a time.")
    return found


def png(pixels: Pixels, name: str = "") -> bytes:
    """The picture as PNG. Floats are cut at 0 and 1, NaN is black; what lies far outside is warned of."""
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: 0, none
    lines[:, 1:] = _bytes(pixels, name).reshape(height, -1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.data, _LEVEL)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _bytes(pixels: Pixels, name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    numbers = np.nan_to_num(pixels.astype(np.float32), nan=0.0)
    if numbers.min() < -0.1 or numbers.max() > 1.1:
        warnings.warn(
            f"image {name!r}: its floats reach from {numbers.min():.3g} to {numbers.max():.3g} and are cut at 0 and 1; "
            "scale them, or give uint8.",
            stacklevel=2,
        )
    return (np.clip(numbers, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _each(name: str, given: object) -> Iterator[Pixels]:
    if isinstance(given, list | tuple):
        for one in given:
            yield from _each(name, one)
        return
    array, channels_first = _array(given)
    if channels_first and array.ndim >= 3:
        array = np.moveaxis(array, -3, -1)
    if array.ndim == 4:
        for one in array:
            yield _one(name, one, given)
    else:
        yield _one(name, array, given)


def _array(given: Any) -> tuple[Pixels, bool]:
    """As an array, and whether its channels stand before height and width, as PyTorch has them."""
    if hasattr(given, "detach"):
        tensor = given.detach()
        if tensor.dtype.is_floating_point:
            tensor = tensor.float()  # NumPy knows no bfloat16
        return tensor.cpu().numpy(), True
    if (figure := _figure(given)) is not None:
        return _drawn(figure), False
    if hasattr(given, "convert") and hasattr(given, "getbands"):  # of Pillow
        alpha = given.mode in ("RGBA", "LA", "PA") or "transparency" in given.info
        mode = "L" if given.mode in ("1", "L") else "RGBA" if alpha else "RGB"
        return np.asarray(given.convert(mode)), False
    return np.asarray(given), False


def _figure(given: Any) -> Any:
    """Of Matplotlib: itself, that of `pyplot`, of axes, or of a grid of seaborn's; None where it is none of these."""
    if hasattr(given, "gcf"):
        return given.gcf()
    found = given if hasattr(given, "canvas") else getattr(given, "figure", None)
    return found if hasattr(found, "canvas") and hasattr(found, "savefig") else None


def _drawn(figure: Any) -> Pixels:
    """Its pixels; one that is drawn elsewhere, as a PDF or not at all, for that moment gets a canvas that has some."""
    canvas = figure.canvas
    if not hasattr(canvas, "buffer_rgba"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas, before = FigureCanvasAgg(figure), canvas
        figure.set_canvas(before)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _one(name: str, array: Pixels, given: object) -> Pixels:
    pixels = array[:, :, None] if array.ndim == 2 else array
    good = pixels.ndim == 3 and pixels.shape[-1] in _COLOURS and pixels.size > 0
    if not good:
        raise _no_picture(name, f"it is {_said(given)}", _advice(pixels.shape))
    if pixels.dtype.kind in "iu" and pixels.dtype != np.uint8:
        if pixels.min() < 0 or pixels.max() > 255:
            found = f"its whole numbers reach from {pixels.min()} to {pixels.max()}"
            raise _no_picture(name, found, "Give uint8, or floats from 0 to 1.")
        return pixels.astype(np.uint8)
    if pixels.dtype.kind not in "fub":
        raise _no_picture(name, f"it is {_said(given)}", "Give uint8, or floats from 0 to 1.")
    return np.array(pixels, order="C")


def _advice(shape: Sequence[int]) -> str:
    if len(shape) == 3 and shape[0] in _COLOURS:
        return "Arrays have their channels last: give array.transpose(1, 2, 0)."
    return "Give height × width, or height × width × 1, 3 or 4 (PyTorch: channels × height × width)."


def _said(given: object) -> str:
    shape, kind = getattr(given, "shape", None), getattr(given, "dtype", "")
    return f"a {type(given).__name__}" + (f" of shape {tuple(shape)}, {kind}" if shape is not None else "")


def _no_picture(name: str, found: str, do: str) -> RecordError:
    return RecordError(asked=f"image {name!r} was logged", found=found, do=do)
