"""How is a window of a JPEG decoded without the rest? By shim/, compiled on first use; docs/adr/0007 says why.

It calls the libjpeg-turbo that Pillow's wheel carries, or the system's libjpeg.so.62. Where there is no compiler or no
such library, or where what it decodes differs from what Pillow decodes, `fused()` is None, and `backend()` says why.
"""

from __future__ import annotations

import ctypes
import functools
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from leyden.data.decode.compiled import NoFusedError, build, folder
from leyden.data.errors import SampleError

SWITCH: Final = "LEYDEN_DECODE"  # =pillow: compile nothing
_SOURCE: Final = Path(__file__).with_name("shim")
_FUNCTIONS: Final = (
    "jpeg_std_error",
    "jpeg_CreateDecompress",
    "jpeg_mem_src",
    "jpeg_read_header",
    "jpeg_start_decompress",
    "jpeg_crop_scanline",
    "jpeg_skip_scanlines",
    "jpeg_read_scanlines",
    "jpeg_destroy_decompress",
    "jpeg_read_coefficients",
    "jpeg_CreateCompress",
    "jpeg_mem_dest",
    "jpeg_copy_critical_parameters",
    "jpeg_write_coefficients",
    "jpeg_finish_compress",
    "jpeg_destroy_compress",
)
_DONE, _CORRUPT = 0, 1
_Text, _Box, _Edges = ctypes.c_char * 200, ctypes.c_int * 4, ctypes.c_double * 4
_lock = threading.Lock()

Box = tuple[int, int, int, int]
Edges = tuple[float, float, float, float]


@final
class Fused:
    """The compiled decoder, bound to a libjpeg."""

    def __init__(self, shim: Path, jpeg: ctypes.CDLL) -> None:
        try:
            library = ctypes.CDLL(str(shim))
            addresses = [ctypes.cast(getattr(jpeg, name), ctypes.c_void_p) for name in _FUNCTIONS]
        except (OSError, AttributeError) as error:
            raise NoFusedError(str(error)) from error
        library.leyden_bind((ctypes.c_void_p * len(addresses))(*addresses))
        self._window = library.leyden_window
        self._window.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, *[ctypes.c_int] * 3]
        self._window.argtypes += [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_char_p]
        self._tile, self._free = library.leyden_tile, library.leyden_free
        self._tile.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, *[ctypes.c_void_p] * 2, ctypes.c_char_p]
        self._free.argtypes, self._free.restype = [ctypes.c_void_p], None
        self._resize = library.leyden_resize
        self._resize.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * 2, *[ctypes.c_void_p] * 2, *[ctypes.c_int] * 2]
        self._jpeg = jpeg  # stays loaded

    def window(
        self,
        raw: bytes | memoryview,
        box: Box,
        *,
        down: int = 1,
        flip: bool = False,
        channels: int = 3,
    ) -> NDArray[np.uint8] | None:
        """Rows and columns `box` (top, left, height, width) of the picture scaled by 1/`down`; None: not for us.

        Raises SampleError where libjpeg would warn or fail: never grey pixels for lost ones.
        """
        out = np.empty((box[2], box[3], channels), np.uint8)
        text = _Text()
        result = self._window(
            raw if isinstance(raw, bytes) else _address(np.frombuffer(raw, np.uint8)),
            len(raw),
            _Box(*box),
            down,
            int(flip),
            channels,
            _address(out),
            box[3] * channels,
            text,
        )
        if result == _CORRUPT:
            raise _corrupt(text)
        return out if result == _DONE else None

    def resize(self, pixels: NDArray[np.uint8], edges: Edges, height: int, width: int) -> NDArray[np.uint8]:
        """`edges` (left, top, right, bottom, fractions allowed) of `pixels` (rows, columns, 4) as (height, width, 3).

        By Pillow's bilinear filter, columns first: the same bits where Pillow goes that way, else within 1.
        """
        out = np.empty((height, width, 3), np.uint8)
        rows, columns = pixels.shape[:2]
        if self._resize(_address(pixels), rows, columns, _Edges(*edges), _address(out), height, width):
            raise MemoryError
        return out

    def tile(self, raw: bytes | memoryview, every: int) -> bytes:
        """The same coefficients in one pass, with a restart marker after `every` blocks (MCUs) and optimal codes.

        Of the notes only JFIF's and Adobe's are kept. Raises SampleError as `window` does.
        """
        data, text = np.frombuffer(raw, np.uint8), _Text()
        made, size = ctypes.c_void_p(), ctypes.c_ulong()
        if self._tile(_address(data), data.size, every, ctypes.byref(made), ctypes.byref(size), text) != _DONE:
            raise _corrupt(text)
        try:
            return ctypes.string_at(made.value or 0, size.value)
        finally:
            self._free(made)


def fused() -> Fused | None:
    """The fused decoder of this process; None where there is none."""
    found = _find()
    return found if isinstance(found, Fused) else None


def backend() -> str:
    """What decodes JPEGs in this process, and why."""
    found = _find()
    return f"pillow: {found}" if isinstance(found, str) else "fused: compiled shim over libjpeg-turbo"


def warm() -> str:
    """Compile what is not compiled yet, before workers start; the same words as `backend`."""
    return backend()


def _find() -> Fused | str:
    with _lock:
        return _load()


@functools.cache
def _load() -> Fused | str:
    if os.environ.get(SWITCH) == "pillow":
        return f"{SWITCH}=pillow is set"
    reasons = []
    try:
        shim = build(_SOURCE, folder())
        for jpeg in _libraries():
            try:
                decoder = Fused(shim, jpeg)
                _compare(decoder)
                return decoder
            except (NoFusedError, SampleError) as error:
                reasons.append(str(error))
    except (OSError, RuntimeError) as error:
        reasons.append(str(error))
    return "; ".join(reasons) or "no libjpeg.so.62 was found"


def _libraries() -> Iterator[ctypes.CDLL]:
    bundled = sorted(Path(PIL.__file__).parents[1].glob("[pP]illow.libs/libjpeg-*.so.62*"))
    for name in [*map(str, bundled), "libjpeg.so.62"]:
        try:
            yield ctypes.CDLL(name)
        except OSError:
            continue


def _compare(decoder: Fused) -> None:
    """Raises NoFusedError unless a small picture comes out as Pillow decodes it."""
    rows, columns = np.mgrid[0:45, 0:61]
    pixels = np.stack([rows * 5, columns * 4, (rows * columns) % 251], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    whole = np.asarray(Image.open(file))
    part = decoder.window(file.getvalue(), (19, 17, 20, 23))
    if part is None or not np.array_equal(part, whole[19:39, 17:40]):
        raise NoFusedError("a test picture was decoded otherwise than by Pillow")


def _address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])


def _corrupt(text: ctypes.Array[ctypes.c_char]) -> SampleError:
    return SampleError(
        asked="a JPEG was to be decoded",
        found=f"libjpeg says: {text.value.decode(errors='replace')}",
        do='Write the sample again from its origin, or train without it: Loader(on_error="skip").',
    )
