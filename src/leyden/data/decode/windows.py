"""Which part of a picture? Drawn before anything is decoded, so that a picture and its mask can be given the same."""

from __future__ import annotations

import math
from typing import NamedTuple

from numpy.random import Generator

from leyden.data.errors import SampleError

Size = tuple[int, int]


class Window(NamedTuple):
    """Rows top to top + height, columns left to left + width."""

    top: int
    left: int
    height: int
    width: int


def center_window(whole: Size, size: int | Size) -> Window:
    """The window of `size` in the middle; reaches beyond the picture where that is smaller."""
    height, width = pair(size)
    return Window(round((whole[0] - height) / 2), round((whole[1] - width) / 2), height, width)


def random_window(whole: Size, size: int | Size, rng: Generator, *, pad: int = 0) -> Window:
    """A window of `size` (height, width) anywhere in a picture of size `whole` with `pad` more pixels on every side.

    Raises SampleError where it does not fit.
    """
    height, width = pair(size)
    rows, columns = whole[0] + 2 * pad - height, whole[1] + 2 * pad - width
    if rows < 0 or columns < 0:
        raise SampleError(
            asked=f"a random crop of {height}×{width}",
            found=f"the picture has {whole[0]}×{whole[1]} pixels and pad={pad}",
            do="Crop less, give a larger pad=, or use random_resized_crop.",
        )
    return Window(int(rng.integers(rows + 1)) - pad, int(rng.integers(columns + 1)) - pad, height, width)


def random_resized_window(
    whole: Size,
    rng: Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Window:
    """A window of random area (share `scale` of the picture) and random shape (width / height in `ratio`).

    Szegedy et al. 2015, "Going deeper with convolutions", section 6; drawn as torchvision's RandomResizedCrop does: ten
    tries, then the largest window in the middle whose shape is allowed.
    """
    rows, columns = whole
    for _ in range(10):
        area = rows * columns * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < width <= columns and 0 < height <= rows:
            top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
            return Window(top, left, height, width)
    width = min(columns, round(rows * ratio[1]))
    height = min(rows, round(columns / ratio[0]))
    return Window((rows - height) // 2, (columns - width) // 2, height, width)


def pair(size: int | Size) -> Size:
    """(height, width) of a size that may be one number."""
    return (size, size) if isinstance(size, int) else size
