"""What does a transform see of a picture? Its size at once, and of its pixels only those it asks for.

Every method but `plane` returns uint8 (height, width, 3) in RGB: grey is repeated, alpha is dropped without blending,
CMYK is converted as Pillow does, of 16 bits the upper 8 are kept. EXIF orientation is not applied (nor do torchvision's
decoders by default): pixels lie as they are stored, and a mask stored beside them lies the same way.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar, final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from leyden.data.decode import clock
from leyden.data.decode.fused import fused
from leyden.data.decode.header import jpeg_size
from leyden.data.decode.windows import Size, Window, center_window, pair, random_resized_window, random_window
from leyden.data.errors import SampleError

T = TypeVar("T")
Pixels = NDArray[np.uint8]
_REST = 1.5  # by how much the filter shrinks at least after libjpeg did
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises


@final
class Picture:
    """An encoded picture: JPEG, PNG, WebP, GIF, BMP, TIFF. Nothing is decoded before a method is called.

    Every method raises SampleError for a picture that is broken or cut short.
    """

    __slots__ = ("_image", "_raw", "_size")

    def __init__(self, raw: bytes | memoryview) -> None:
        self._raw = raw
        self._image: Image.Image | None = None
        self._size = jpeg_size(raw)

    @property
    def size(self) -> Size:
        """(height, width) in pixels, from the header."""
        if self._size is None:
            width, height = self._open().size
            return height, width
        return self._size

    def decode(self, *, flip: bool = False) -> Pixels:
        """All of it; mirrored left to right with `flip`."""
        return self._cut(Window(0, 0, *self.size), flip)

    def crop(self, top: int, left: int, height: int, width: int, *, flip: bool = False) -> Pixels:
        """These rows and columns: the same pixels as cut from `decode()`. Beyond the picture: SampleError."""
        window = Window(top, left, height, width)
        self._check(window)
        return self._cut(window, flip)

    def center_crop(self, size: int | Size, *, flip: bool = False) -> Pixels:
        """The middle, of that (height, width); black where the picture is smaller."""
        return self._framed(center_window(self.size, size), flip)

    def random_crop(self, size: int | Size, rng: Generator, *, pad: int = 0, flip: float = 0.0) -> Pixels:
        """A window of that (height, width) anywhere; with `pad` black pixels round the picture.

        Mirrored with probability `flip`. Raises SampleError where the padded picture is smaller.
        """
        window = random_window(self.size, size, rng, pad=pad)
        return self._framed(window, _chance(flip, rng))

    def resize(self, height: int, width: int, *, flip: bool = False) -> Pixels:
        """The whole picture in another size; see `resized_crop`."""
        return self.resized_crop(Window(0, 0, *self.size), (height, width), flip=flip)

    def resized_crop(self, window: Window, size: int | Size, *, flip: bool = False) -> Pixels:
        """A window in another size, by Pillow's antialiased bilinear filter.

        Where both sides shrink to less than a third, libjpeg decodes a JPEG at 1/2, 1/4 or 1/8 (from fewer
        coefficients), and the filter shrinks by at least 1.5 what is left: in photographs half a level of 255 from
        the filter alone, more at edges as sharp as pixels are.
        """
        start, (height, width) = perf_counter(), pair(size)
        self._check(window)
        shrinks = min(window.height / height, window.width / width) / _REST if self._size else 1
        pixels = self._resized(window, height, width, next(by for by in (8, 4, 2, 1) if by <= max(shrinks, 1)))
        clock.add(start, self.size[0] * self.size[1], height * width)
        return np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels

    def random_resized_crop(
        self,
        size: int | Size,
        rng: Generator,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.0,
    ) -> Pixels:
        """A window of random area and shape (`windows.random_resized_window`), resized to (height, width)."""
        window = random_resized_window(self.size, rng, scale=scale, ratio=ratio)
        return self.resized_crop(window, size, flip=_chance(flip, rng))

    def plane(self, window: Window | tuple[int, int, int, int] | None = None) -> NDArray[Any]:
        """What is stored, all of it or a window: class numbers of a palette, grey values, depth of 16 bits.

        (height, width), or (height, width, channels) where the picture has several. Pillow's mode decides the type.
        """
        start, whole = perf_counter(), self.size
        part = Window(*window) if window is not None else Window(0, 0, *whole)
        self._check(part)
        pixels = _guarded(lambda: np.array(self._open().crop(_corners(part))))
        clock.add(start, whole[0] * whole[1], part.height * part.width)
        return pixels

    def _check(self, window: Window) -> None:
        top, left, height, width = window
        rows, columns = self.size
        if top < 0 or left < 0 or height < 1 or width < 1 or top + height > rows or left + width > columns:
            raise SampleError(
                asked=f"a crop of {height}×{width} at ({top}, {left})",
                found=f"the picture has {rows}×{columns} pixels",
                do="Ask `size` first, or use random_crop(…, pad=…).",
            )

    def _cut(self, window: Window, flip: bool) -> Pixels:
        """A window that lies in the picture."""
        start = perf_counter()
        pixels = self._fused(window, 1, flip, 3)
        if pixels is None:
            pixels = self._slow(window, flip)
        whole = self.size
        clock.add(start, whole[0] * whole[1], window.height * window.width)
        return pixels

    def _framed(self, window: Window, flip: bool) -> Pixels:
        """A window, black where it reaches beyond the picture."""
        inside = _inside(window, self.size)
        if inside == window:
            return self._cut(window, flip)
        framed = np.zeros((window.height, window.width, 3), np.uint8)
        if inside.height and inside.width:
            top, left = inside.top - window.top, inside.left - window.left
            if flip:
                left = window.width - left - inside.width
            framed[top : top + inside.height, left : left + inside.width] = self._cut(inside, flip)
        return framed

    def _fused(self, window: Window, down: int, flip: bool, channels: int) -> Pixels | None:
        """By the fused decoder; None where it cannot."""
        decoder = fused() if self._size is not None else None
        if decoder is None:
            return None
        _check_bomb(self.size)
        return decoder.window(self._raw, window, down=down, flip=flip, channels=channels)

    def _slow(self, window: Window, flip: bool) -> Pixels:
        """By Pillow."""
        image = _guarded(lambda: _rgb(self._open().crop(_corners(window))))
        pixels = np.array(image)
        return np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels

    def _resized(self, window: Window, height: int, width: int, down: int) -> Pixels:
        """A window, decoded at 1/down, then brought to its size."""
        rows, columns = (-(-side // down) for side in self.size)
        top, left = window.top // down, window.left // down
        bottom = min(rows, -(-(window.top + window.height) // down))
        right = min(columns, -(-(window.left + window.width) // down))
        edges = (
            window.left / down - left,
            window.top / down - top,
            min(right - left, (window.left + window.width) / down - left),
            min(bottom - top, (window.top + window.height) / down - top),
        )
        decoder, pixels = fused(), self._fused(Window(top, left, bottom - top, right - left), down, False, 4)
        if decoder is not None and pixels is not None:
            return decoder.resize(pixels, edges, height, width)
        image = _guarded(lambda: _rgb(self._draft(down).crop((left, top, right, bottom))))
        return np.array(image.resize((width, height), Image.Resampling.BILINEAR, box=edges))

    def _draft(self, down: int) -> Image.Image:
        """Pillow's image, to be decoded at 1/down."""
        if down == 1:
            return self._open()
        image = _open(self._raw)
        image.draft("RGB", (image.width // down, image.height // down))
        return image

    def _open(self) -> Image.Image:
        if self._image is None:
            self._image = _open(self._raw)
        return self._image


def _open(raw: bytes | memoryview) -> Image.Image:
    return _guarded(lambda: Image.open(io.BytesIO(raw)))


def _guarded(act: Callable[[], T]) -> T:
    """What `act` returns; what Pillow raises becomes a SampleError."""
    try:
        return act()
    except _BROKEN as error:
        raise SampleError(
            asked="a picture was to be decoded",
            found=f"Pillow says: {error}",
            do='Write the sample again from its origin, or train without it: Loader(on_error="skip").',
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """Three channels of 8 bits."""
    if image.mode.startswith("I"):  # 16 bits: Pillow would cut off at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _corners(window: Window) -> tuple[int, int, int, int]:
    """As Pillow names a box: left, top, right, bottom."""
    return window.left, window.top, window.left + window.width, window.top + window.height


def _inside(window: Window, whole: Size) -> Window:
    """The part of a window that lies in the picture."""
    top, left = min(max(window.top, 0), whole[0]), min(max(window.left, 0), whole[1])
    bottom = min(max(window.top + window.height, top), whole[0])
    right = min(max(window.left + window.width, left), whole[1])
    return Window(top, left, bottom - top, right - left)


def _check_bomb(size: Size) -> None:
    """Pillow's own bound on what a small file may ask for."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and size[0] * size[1] > 2 * most:
        raise SampleError(
            asked="a picture was to be decoded",
            found=f"its header says {size[0]}×{size[1]} pixels, above the bound of {2 * most:,}",
            do="If that is right, raise PIL.Image.MAX_IMAGE_PIXELS in the transform's module.",
        )


def _chance(flip: float, rng: Generator) -> bool:
    return flip > 0 and bool(rng.random() < flip)
