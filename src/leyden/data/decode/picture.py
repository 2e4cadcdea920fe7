"""What does a transform see of a picture? Its size at once, and of its pixels only those it asks for.

Every method returns uint8 (height, width, 3) in RGB. Grey is repeated, alpha is dropped without blending, CMYK is
converted as Pillow does, of 16 bits the upper 8 are kept. `plane` gives what is stored instead: class numbers, depth.
EXIF orientation is not applied.
"""

from __future__ import annotations

import io
from typing import Any, final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from leyden.data.errors import SampleError

Pixels = NDArray[np.uint8]


@final
class Picture:
    """An encoded picture: JPEG, PNG, WebP, GIF, BMP, TIFF."""

    __slots__ = ("_image", "_raw")

    def __init__(self, raw: bytes | memoryview) -> None:
        self._raw = raw
        self._image: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, from the header."""
        width, height = self._open().size
        return height, width

    def decode(self, *, flip: bool = False) -> Pixels:
        """All of it."""
        return self.crop(0, 0, *self.size, flip=flip)

    def crop(self, top: int, left: int, height: int, width: int, *, flip: bool = False) -> Pixels:
        """These rows and columns; mirrored left to right with `flip`."""
        image = self._open()
        try:
            pixels = np.array(image.convert("RGB").crop((left, top, left + width, top + height)))
        except (OSError, SyntaxError, ValueError) as error:
            raise SampleError(asked="a picture was to be decoded", found=str(error), do="Look at the file.") from error
        return np.ascontiguousarray(pixels[:, ::-1]) if flip else pixels

    def random_crop(self, size: int | tuple[int, int], rng: Generator, *, flip: float = 0.0) -> Pixels:
        """A window of that (height, width) anywhere in the picture; mirrored with probability `flip`."""
        height, width = (size, size) if isinstance(size, int) else size
        whole = self.size
        top, left = int(rng.integers(whole[0] - height + 1)), int(rng.integers(whole[1] - width + 1))
        return self.crop(top, left, height, width, flip=flip > 0 and rng.random() < flip)

    def _open(self) -> Image.Image:
        if self._image is None:
            try:
                self._image = Image.open(io.BytesIO(self._raw))
            except (OSError, SyntaxError, ValueError) as error:
                raise SampleError(asked="a picture was to be read", found=str(error), do="Look at the file.") from error
        return self._image

    def plane(self) -> NDArray[Any]:
        """What is stored, (height, width) for one channel: class numbers of a palette, grey values, 16-bit depth."""
        return np.array(self._open())
